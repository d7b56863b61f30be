"""Whether two evaluations answer the same questions, in which order, and what to say where they do not."""

from collections import Counter, defaultdict
from typing import Any

import numpy as np
from jaxtyping import Int64

from kvorum.errors import KvorumError
from kvorum.report.evaluations import Evaluation

Key = tuple[str, str, tuple[str, ...], int]

ADVICE = "only the same questions compare: score both runs with the same evaluate_limit, limit_to and question set"
QUOTED = 70
"""Letters of a question in a message."""


def matching(first: Evaluation, second: Evaluation) -> Int64[np.ndarray, "example"]:
    """Where each question of the first stands in the second.

    Questions are the same if their ids, texts, choices and answers are. Raises `KvorumError` that says which run, which
    task and why where either has one that the other has not.
    """
    ours, theirs = first.keys, second.keys
    if ours == theirs:
        return np.arange(len(ours))
    if Counter(ours) != Counter(theirs):
        raise KvorumError(f"{_reason(first, second)}; {ADVICE}")
    places: dict[Key, list[int]] = defaultdict(list)
    for place in reversed(range(len(theirs))):
        places[theirs[place]].append(place)
    return np.array([places[key].pop() for key in ours], dtype=np.int64)


def _reason(first: Evaluation, second: Evaluation) -> str:
    here, there = first.run.path, second.run.path
    ours, theirs = first.keys, second.keys
    if len(ours) != len(theirs):
        return f"{there} answers {len(theirs):,} questions of {second.task}, {here} {len(ours):,}"
    alone, unmet = Counter(ours) - Counter(theirs), Counter(theirs) - Counter(ours)
    place = next(place for place, key in enumerate(ours) if key in alone)
    key = ours[place]
    # What stands in its place: the one of the same id, else of the same number, if that one is unmet as well.
    other = next((each for each in unmet if each[0] == key[0]), theirs[place])
    what = f"question {place + 1} of {first.task} (id '{key[0]}')"
    if other not in unmet:
        return f"{what}, {_quoted(key[1])} in {here}, is not among those of {there}"
    if key[1] != other[1]:
        return f"{what} is {_quoted(key[1])} in {here} and {_quoted(other[1])} in {there}"
    if key[2] != other[2]:
        return f"{what} has the choices {_listed(key[2])} in {here} and {_listed(other[2])} in {there}"
    if key[3] != other[3]:
        return f"{what} is answered by {_answer(key)} in {here} and by {_answer(other)} in {there}"
    return f"{what} in {here} has the id '{other[0]}' in {there}"


def _quoted(words: str) -> str:
    words = " ".join(words.split())
    return f"'{words if len(words) <= QUOTED else words[: QUOTED - 1] + '…'}'"


def _listed(choices: tuple[str, ...]) -> str:
    return _quoted(" | ".join(choices))


def _answer(key: Any) -> str:
    _, _, choices, answer = key
    return _quoted(choices[answer]) if answer >= 0 else "nothing known"
