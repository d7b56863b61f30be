"""From prompts to tokens: what a model reads, and the tokens of each candidate answer after it.

Candidates are tokenised together with their prompt, since where a token ends depends on what stands before it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jinja2

from kvorum.errors import KvorumError
from kvorum.tasks.prompts import LETTERS, Prompt
from kvorum.tasks.question import Question

Tokenizer = Any  # any transformers tokenizer; to name its class would import transformers

QUESTIONS_AT_ONCE = 512


@dataclass(frozen=True, slots=True)
class EncodedQuestion:
    """The tokens of a question's prompt, of each candidate after that prompt, and the right candidate's index.

    The probability of a candidate is that of all its tokens, one after the other, after the prompt.
    In letter format every candidate is one token, and no two are the same.
    """

    prompt: tuple[int, ...]
    candidates: tuple[tuple[int, ...], ...]
    answer: int | None


def encode(
    questions: Sequence[Question], prompt: Prompt, tokenizer: Tokenizer, *, max_length: int
) -> list[EncodedQuestion]:
    """The tokens of every question, in their order.

    What the tokenizer sets in front of a text (BOS) is kept, what it appends (EOS) is not. Nothing is ever cut.

    Raises KvorumError, naming the question, where prompt and longest candidate exceed `max_length` tokens, where
    letters cannot be told apart by one token each, and where a chat template is wanted but the tokenizer has none.
    """
    front = () if prompt.chat else _tokens_set_in_front(tokenizer)
    encoded: list[EncodedQuestion] = []
    for start in range(0, len(questions), QUESTIONS_AT_ONCE):
        batch = questions[start : start + QUESTIONS_AT_ONCE]
        encoded += _encode_batch(batch, prompt, tokenizer, front)
    for question, one in zip(questions, encoded, strict=True):
        longest = max(map(len, one.candidates))
        if len(one.prompt) + longest > max_length:
            raise KvorumError(
                f"question '{question.id}' is {len(one.prompt) + longest} tokens long (prompt {len(one.prompt)}, "
                f"longest candidate {longest}), but the model takes {max_length}; nothing is cut: leave the question "
                "out, or shorten it or the prompt template"
            )
    return encoded


def prompt_texts(questions: Sequence[Question], prompt: Prompt, tokenizer: Tokenizer) -> list[str]:
    """The text of every question's prompt as the model reads it: in the chat template, where one is asked for."""
    rendered = [prompt.render(question) for question in questions]
    if not prompt.chat:
        return rendered
    if not getattr(tokenizer, "chat_template", None):
        raise KvorumError("--chat: this model's tokenizer has no chat template; leave --chat out")
    texts: list[str] = []
    for text in rendered:
        # The last line is the cue ("A: (", "Answer:") with which the assistant's turn begins.
        turn, newline, cue = text.rpartition("\n")
        message = {"role": "user", "content": turn if newline else text}
        try:
            wrapped = tokenizer.apply_chat_template([message], tokenize=False, add_generation_prompt=True)
        except (jinja2.TemplateError, LookupError, TypeError, ValueError) as error:
            raise KvorumError(f"--chat: the tokenizer's chat template fails ({error}); leave --chat out") from error
        texts.append(wrapped + cue if newline else wrapped)
    return texts


def _tokens_set_in_front(tokenizer: Tokenizer) -> tuple[int, ...]:
    probe = tokenizer("a", return_special_tokens_mask=True)
    front: list[int] = []
    for token, special in zip(probe["input_ids"], probe["special_tokens_mask"], strict=True):
        if not special:
            break
        front.append(token)
    return tuple(front)


def _encode_batch(
    questions: Sequence[Question], prompt: Prompt, tokenizer: Tokenizer, front: tuple[int, ...]
) -> list[EncodedQuestion]:
    by_letter = prompt.answer_format == "letter"
    spell, read = (_with_letters, _read_letters) if by_letter else (_with_candidates, _read_candidates)
    texts = [
        spell(question, text)
        for question, text in zip(questions, prompt_texts(questions, prompt, tokenizer), strict=True)
    ]
    flat = [text for of_question in texts for text in of_question]
    tokens = iter(tokenizer(flat, add_special_tokens=False, return_attention_mask=False, verbose=False)["input_ids"])
    encoded: list[EncodedQuestion] = []
    for question, of_question in zip(questions, texts, strict=True):
        wholes = [(*front, *next(tokens)) for _ in of_question]
        prompt_tokens, candidates = read(question, wholes, tokenizer)
        if not prompt_tokens:
            raise KvorumError(
                f"question '{question.id}': the prompt is empty once tokenised, and a first token cannot be scored; "
                "the prompt template must say something before the answer"
            )
        encoded.append(EncodedQuestion(prompt_tokens, candidates, question.answer))
    return encoded


def _with_letters(question: Question, text: str) -> list[str]:
    if len(question.choices) > len(LETTERS):
        raise KvorumError(
            f"question '{question.id}' has {len(question.choices)} choices, but there are {len(LETTERS)} letters; "
            "use --answer-format text"
        )
    return [text + letter for letter in LETTERS[: len(question.choices)]]


def _with_candidates(question: Question, text: str) -> list[str]:
    """The prompt alone, then with each candidate.

    Trailing blanks of the prompt move into the candidate: tokenizers join a blank with the word that follows it.
    """
    text = text.rstrip(" \t")
    blank = "" if text.endswith("\n") or not text else " "
    return [text, *(text + blank + choice.strip() for choice in question.choices)]


Tokens = tuple[int, ...]


def _read_letters(question: Question, wholes: list[Tokens], tokenizer: Tokenizer) -> tuple[Tokens, tuple[Tokens, ...]]:
    shared = _shared_length(wholes)
    letters = tuple(whole[shared:] for whole in wholes)
    if any(len(tokens) != 1 for tokens in letters) or len(set(letters)) < len(letters):
        spelled = ", ".join(
            f"'{letter}' is {tokenizer.convert_ids_to_tokens(list(whole[min(shared, len(whole) - 1) :]))}"
            for letter, whole in zip(LETTERS, wholes, strict=False)
        )
        raise KvorumError(
            f"question '{question.id}': each letter must be one token after the prompt, unlike the others', but for "
            f"this tokenizer {spelled}; use --answer-format text, or a prompt template that ends in another way"
        )
    return wholes[0][:shared], letters


def _read_candidates(
    question: Question, wholes: list[Tokens], tokenizer: Tokenizer
) -> tuple[Tokens, tuple[Tokens, ...]]:
    shared = _shared_length(wholes)
    candidates = tuple(whole[shared:] for whole in wholes[1:])
    for choice, tokens in zip(question.choices, candidates, strict=True):
        if not tokens:
            raise KvorumError(f"question '{question.id}': the tokenizer has no tokens for the choice '{choice}'")
    return wholes[0][:shared], candidates


def _shared_length(sequences: Sequence[Tokens]) -> int:
    first, last = min(sequences), max(sequences)
    for place, (left, right) in enumerate(zip(first, last, strict=False)):
        if left != right:
            return place
    return min(len(first), len(last))
