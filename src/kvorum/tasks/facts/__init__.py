"""Built-in tasks of plain facts, made from small tables in this package, so that a trial needs no data set.

Nothing is drawn from a random generator: every choice follows from hashes of names, so that a task is the same on
every machine and version, and one more row in a table moves no other question's choices.
"""

import csv
import functools
import hashlib
import importlib.resources
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from kvorum.tasks.question import Question, Task

WRONG_CHOICES = 3

Item = TypeVar("Item")


@dataclass(frozen=True, kw_only=True)
class Fact:
    """Something to ask about one entity; the entities of a task are what is split into train and test."""

    entity: str
    question: str
    answer: str
    wrong: tuple[tuple[str, ...], ...]
    """Wrong answers to choose from, in groups: first those that one takes most easily for the right one."""


def _table(name: str) -> list[dict[str, str]]:
    text = (importlib.resources.files(__name__) / f"{name}.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def _capitals() -> list[Fact]:
    """Capitals, each beside a big city of the same country and capitals of others, so that neither sign is enough.

    All are spelled without accents, so that these tell nothing.
    """
    rows = _table("capitals")
    capitals = tuple(row["capital"] for row in rows)
    return [
        Fact(
            entity=row["country"],
            question=f"What is the capital of {row['country']}?",
            answer=row["capital"],
            wrong=(tuple(_in_order_of_hash(f"city, {row['country']}", row["other cities"].split(";"))[:1]), capitals),
        )
        for row in rows
    ]


def _elements() -> list[Fact]:
    """Symbols of the chemical elements among others that begin, or at least sound, alike."""
    rows = _table("elements")
    symbols = tuple(row["symbol"] for row in rows)
    facts = []
    for name, symbol in ((row["name"], row["symbol"]) for row in rows):
        begin_alike = tuple(other for other in symbols if other[0] in (symbol[0], name[0].upper()))
        share_a_letter = tuple(other for other in symbols if symbol[0].lower() in other.lower())
        facts.append(
            Fact(
                entity=name,
                question=f"What is the chemical symbol of {name}?",
                answer=symbol,
                wrong=(begin_alike, share_a_letter, symbols),
            )
        )
    return facts


def _opposites() -> list[Fact]:
    """Opposites among words that are related to the one asked about."""
    return [
        Fact(
            entity=row["word"],
            question=f"What is the opposite of {row['word']}?",
            answer=row["opposite"],
            wrong=(tuple(row["related words"].split(";")),),
        )
        for row in _table("opposites")
    ]


def _sums() -> list[Fact]:
    """Sums of two numbers of two digits among results that a slip would give."""
    pairs = [(first, second) for first in range(11, 100) for second in range(first + 1, 100)]
    slips = (-20, -11, -10, -9, -2, -1, 1, 2, 9, 10, 11, 20)
    facts = []
    for pair in _in_order_of_hash("sums", pairs)[:150]:
        first, second = _in_order_of_hash("sums, which comes first", pair)
        facts.append(
            Fact(
                entity=f"{first} + {second}",
                question=f"What is {first} + {second}?",
                answer=str(first + second),
                wrong=(tuple(str(first + second + slip) for slip in slips),),
            )
        )
    return facts


FACTS: Mapping[str, Callable[[], list[Fact]]] = {
    "facts_capitals": _capitals,
    "facts_elements": _elements,
    "facts_opposites": _opposites,
    "facts_sums": _sums,
}


@functools.cache
def load_facts(name: str) -> Task:
    """A task of `FACTS`: two thirds of the entities are its train split, the others its test split."""
    facts = _in_order_of_hash(name, FACTS[name](), lambda fact: fact.entity)
    questions = tuple(_question(name, fact) for fact in facts)
    tests = math.ceil(len(questions) / 3)
    return Task(
        name=name,
        train=questions[tests:],
        test=questions[:tests],
        train_split="train",
        test_split="test",
        source="built-in",
    )


def _question(name: str, fact: Fact) -> Question:
    wrong: list[str] = []
    for group in fact.wrong:
        fitting = [choice for choice in group if choice != fact.answer and choice not in wrong]
        wrong += _in_order_of_hash(f"{name}, wrong for {fact.entity}", fitting)[: WRONG_CHOICES - len(wrong)]
    choices = _in_order_of_hash(f"{name}, order for {fact.entity}", [fact.answer, *wrong])
    subject = name.removeprefix("facts_")
    return Question(
        id=f"{subject}/{fact.entity}",
        question=fact.question,
        choices=tuple(choices),
        answer=choices.index(fact.answer),
        subject=subject,
    )


def _in_order_of_hash(salt: str, items: Iterable[Item], key: Callable[[Item], object] = str) -> list[Item]:
    return sorted(items, key=lambda item: hashlib.sha256(f"{salt}: {key(item)}".encode()).digest())
