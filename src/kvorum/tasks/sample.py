"""Fewer questions of a task: the first, or a sample."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from kvorum.tasks.question import Question

LimitTo = Literal["first", "random"]
SEED = 20240219


def limit(questions: Sequence[Question], number: int | None, to: LimitTo) -> tuple[Question, ...]:
    """At most `number` of the questions, in their order; all for None.

    A random sample depends on nothing but how many questions there are, so that runs of any seed are scored on the same
    ones, and a larger sample holds a smaller one. Sets that are sorted by subject, as MMLU is, call for it.
    """
    if number is None or number >= len(questions) or to == "first":
        return tuple(questions[:number])
    drawn = np.random.default_rng(SEED).permutation(len(questions))[:number]
    return tuple(questions[i] for i in np.sort(drawn))
