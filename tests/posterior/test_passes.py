"""Scoring in passes of any size gives every member's answer to every question, in its place."""

import numpy as np
import pytest

from kvorum.posterior.scoring import passes
from tests import tiny


@pytest.mark.parametrize("budget", [1, 30, 100, 10_000])
@pytest.mark.parametrize("members", [1, 3])
def test_every_member_meets_every_question_once_within_the_budget(members: int, budget: int) -> None:
    questions = tiny.questions(9, "text")
    tokens = [len(q.prompt) + sum(len(c) - 1 for c in q.candidates) for q in questions]
    met = np.zeros((members, 9), dtype=int)
    for rows, some in passes(questions, members, budget):
        met[some.start : some.stop, rows] += 1
        size = len(some) * sum(tokens[row] for row in rows)
        assert size <= budget or (len(rows) == 1 and len(some) == 1)
    assert (met == 1).all()
