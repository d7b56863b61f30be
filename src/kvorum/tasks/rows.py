"""A row of a user's file becomes a question: every field checked, every mistake named."""

import difflib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kvorum.errors import KvorumError, nearest
from kvorum.tasks.question import Question, refuse_equal_choices

FIELDS = ("question", "choices", "answer", "id", "subject")

ACQUIRED = ("score", "entropy", "mutual_information")
"""Columns that kvorum acquire writes beside, for whoever labels: not read, which goes without saying."""

CHOICE_COLUMN = re.compile(r"choice_(0|[1-9][0-9]*)")

LETTER = re.compile(r"[a-zA-Z]|\([a-zA-Z]\)|[a-zA-Z]\)")
INDEX = re.compile(r"[0-9]{1,6}(\.0)?")  # a column of integers with gaps comes out of pandas as 1.0

OTHER_NAMES_OF_ANSWER = ("answer", "answer_key", "correct", "correct_answer", "gold", "label", "labels", "target")


@dataclass(frozen=True, slots=True)
class Answer:
    """The index of the right choice, and the other index that the same words could have meant."""

    index: int
    other: int | None = None


def is_field(column: str) -> bool:
    """Whether a column of this name is read."""
    return column in FIELDS or CHOICE_COLUMN.fullmatch(column) is not None


def check_columns(columns: Sequence[str]) -> None:
    """Raise KvorumError where a field is missing that a question needs, or one is there under a wrong name."""
    if "question" not in columns:
        raise KvorumError(f"there is no 'question'{nearest('question', columns)}")
    numbered = [column for column in columns if CHOICE_COLUMN.fullmatch(column)]
    if "choices" in columns and numbered:
        raise KvorumError(f"there are both 'choices' and '{numbered[0]}'; keep one of the two ways to give choices")
    if "choices" not in columns and not numbered:
        raise KvorumError(f"there is no 'choices', nor 'choice_0' and so on{nearest('choices', columns)}")
    there = set(numbered)
    missing = [f"choice_{place}" for place in range(len(numbered)) if f"choice_{place}" not in there]
    if missing:
        raise KvorumError(f"there is {', '.join(map(repr, numbered[:8]))} but no '{missing[0]}'; choices count from 0")
    if "answer" in columns:
        return
    # Answers may be absent, so a wrong name would lose them all without a word.
    for column in columns:
        if not is_field(column) and difflib.get_close_matches(column.lower(), OTHER_NAMES_OF_ANSWER, cutoff=0.8):
            raise KvorumError(f"there is '{column}' but no 'answer'; rename it, or remove it if answers are not known")


def read_row(row: Mapping[str, Any], default_id: str) -> tuple[Question, Answer | None]:
    """The question in a row with checked columns, and how its answer was read.

    Raises KvorumError, naming the field, for everything that is wrong with it.
    """
    question = Question(
        id=_id(row, default_id),
        question=_text(row, "question"),
        choices=_choices(row),
        subject=_text(row, "subject") if _present(row.get("subject")) else "",
    )
    refuse_equal_choices(question.choices)
    answer = _answer(row.get("answer"), question.choices)
    return replace(question, answer=None if answer is None else answer.index), answer


def choices_from_json(cell: str) -> Any:
    """The JSON list in a CSV cell; raises KvorumError if there is no JSON."""
    try:
        return json.loads(cell)
    except (ValueError, RecursionError):
        raise KvorumError(
            f"'choices' is {_shown(cell)}, which is no JSON list; a cell of it reads "
            '"[""first"", ""second""]"; or use columns choice_0, choice_1, ...'
        ) from None


def _present(value: Any) -> bool:
    return value is not None and not (isinstance(value, float) and math.isnan(value))


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _text(row: Mapping[str, Any], field: str) -> str:
    value = row[field]
    if not _present(value):
        raise KvorumError(f"'{field}' is empty")
    if not isinstance(value, str):
        raise KvorumError(f"'{field}' is {_shown(value)}, which is no text")
    return value


def _id(row: Mapping[str, Any], default: str) -> str:
    value = row.get("id")
    if not _present(value) or value == "":
        return default
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise KvorumError(f"'id' is {_shown(value)}, which is neither text nor a whole number")
    return str(value)


def _choices(row: Mapping[str, Any]) -> tuple[str, ...]:
    if "choices" in row:
        choices = row["choices"]
        if not isinstance(choices, list):
            raise KvorumError(f"'choices' is {_shown(choices)}, which is no list of texts")
    else:
        numbers = sorted(int(match[1]) for match in map(CHOICE_COLUMN.fullmatch, row) if match)
        choices = [row[f"choice_{number}"] for number in numbers]
        while choices and choices[-1] in (None, ""):
            choices.pop()  # questions may have fewer choices than the file has columns
    for place, choice in enumerate(choices):
        if not isinstance(choice, str):
            hint = "; write it as text, in quotes" if isinstance(choice, int | float) else ""
            raise KvorumError(f"'choices': choice {place} (counted from 0) is {_shown(choice)}, which is no text{hint}")
    return tuple(choice.strip() for choice in choices)


def _answer(value: Any, choices: tuple[str, ...]) -> Answer | None:
    """Which choice a value means: a number is an index; a text is a choice's text, else its letter, else its index.

    So with the choices "b" and "a", the answer "a" is the second, and with "2" and "4" the answer "2" is the first.
    """
    if not _present(value):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        if not 0 <= value < len(choices):
            raise KvorumError(
                f"'answer' is {_shown(value)}, which is no index of {len(choices)} choices, counted from 0"
            )
        return Answer(value)
    if not isinstance(value, str):
        raise KvorumError(f"'answer' is {_shown(value)}, which is neither an index, nor a letter, nor a choice's text")
    text = value.strip()
    meanings = [choices.index(text)] if text in choices else []
    if LETTER.fullmatch(text):
        meanings.append(ord(text.strip("()").lower()) - ord("a"))
    if INDEX.fullmatch(text):
        meanings.append(int(float(text)))
    meanings = [meaning for meaning in meanings if meaning < len(choices)]
    if not meanings:
        raise KvorumError(
            f"'answer' is {_shown(value)}, which is neither the text of a choice, nor its letter, nor its index "
            f"(from 0){nearest(text, [choice[:40] for choice in choices])}"
        )
    return Answer(meanings[0], next((other for other in meanings[1:] if other != meanings[0]), None))
