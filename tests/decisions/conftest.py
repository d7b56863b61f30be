"""Predictions whose doubt means something: the surer, the more often right."""

from collections.abc import Callable

import numpy as np
import pytest

from kvorum.predictions import Predictions

Make = Callable[..., Predictions]


def make(questions: int = 400, seed: int = 0, members: int = 5, candidates: int = 4, **facts: object) -> Predictions:
    draw = np.random.default_rng(seed)
    logits = draw.normal(size=(1, questions, candidates)) * 2.5
    probs = np.exp(logits + draw.normal(size=(members, questions, candidates)) * 0.7)
    probs /= probs.sum(2, keepdims=True)
    truth = 0.93 * probs.mean(0) + 0.07 / candidates
    answers = (draw.random((questions, 1)) > truth.cumsum(1)).sum(1).clip(max=candidates - 1)
    return Predictions(
        probs=probs,
        rest=np.zeros((members, questions)),
        answers=answers,
        ids=tuple(f"q{place}" for place in range(questions)),
        subjects=("",) * questions,
        questions=tuple(f"Question {seed}/{place}?" for place in range(questions)),
        choices=(tuple("abcdefgh"[:candidates]),) * questions,
        facts={"members": list(range(members)), "task": "held", "split": "all", "epoch": 1, "model": "m", **facts},
    )


@pytest.fixture(scope="session")
def predictions() -> Make:
    return make
