"""What is asked: a question with its candidate answers, and a task, a named set of them with its splits."""

from collections.abc import Sequence
from dataclasses import dataclass

from kvorum.errors import KvorumError


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """One question and its candidate answers.

    `answer` is the index of the right choice, None where it is not known. The order of the choices means nothing.
    Two equal choices are allowed here, since published sets hold some; `refuse_equal_choices` is for a user's own.

    Raises KvorumError for an empty text, fewer than two choices, or an answer that is the index of none.
    """

    id: str
    question: str
    choices: tuple[str, ...]
    answer: int | None = None
    subject: str = ""

    def __post_init__(self) -> None:
        if not self.question.strip():
            raise KvorumError("'question' is empty")
        if len(self.choices) < 2:
            found = f"only one choice, '{self.choices[0]}'" if self.choices else "no choices"
            raise KvorumError(f"'choices': {found}; a question needs at least two")
        for position, choice in enumerate(self.choices):
            if not choice.strip():
                raise KvorumError(f"'choices': choice {position} (counted from 0) is empty")
        for field, text in (("id", self.id), ("question", self.question), ("subject", self.subject)):
            _refuse_half_characters(field, text)
        for choice in self.choices:
            _refuse_half_characters("choices", choice)
        if self.answer is not None and not 0 <= self.answer < len(self.choices):
            raise KvorumError(
                f"'answer' is {self.answer}, but there are {len(self.choices)} choices, "
                f"counted from 0 to {len(self.choices) - 1}"
            )


def _refuse_half_characters(field: str, text: str) -> None:
    # JSON can spell half of a surrogate pair, which neither a tokenizer nor Parquet can take later.
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise KvorumError(f"'{field}' holds half a character at position {error.start} (a lone surrogate)") from None


def refuse_equal_choices(choices: Sequence[str]) -> None:
    """Raise KvorumError if two choices are the same text."""
    first_place: dict[str, int] = {}
    for place, choice in enumerate(choices):
        if choice in first_place:
            raise KvorumError(
                f"'choices': '{choice[:60]}' is there twice, as choices {first_place[choice]} and {place} "
                "(counted from 0)"
            )
        first_place[choice] = place


@dataclass(frozen=True, kw_only=True)
class Task:
    """A named set of questions with its splits.

    Raises KvorumError if there is nothing to evaluate on, or if an id is there twice in a split.
    """

    name: str
    train: tuple[Question, ...]
    """What it is fitted on; empty for a task that is for evaluation alone."""
    test: tuple[Question, ...]
    """What it is evaluated on."""
    train_split: str
    """The source's name of `train`; empty where there is none, "all" for a file."""
    test_split: str
    """The source's name of `test`; "all" for a file."""
    source: str
    """Where the questions came from, in words for a report."""
    skipped: tuple[str, ...] = ()
    """A message for each row that was left out as bad."""

    def __post_init__(self) -> None:
        if not self.test:
            raise KvorumError(f"task '{self.name}' ({self.source}) holds no questions to evaluate on")
        for split, questions in ((self.train_split, self.train), (self.test_split, self.test)):
            seen: set[str] = set()
            for question in questions:
                if question.id in seen:
                    raise KvorumError(f"task '{self.name}', split '{split}': the id '{question.id}' is there twice")
                seen.add(question.id)

    @property
    def tested_on_train(self) -> bool:
        """Whether evaluating this task after fitting it shows the very questions it was fitted on."""
        return bool(self.train) and self.train_split == self.test_split
