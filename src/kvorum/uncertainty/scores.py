"""How good each answer was: right or wrong, negative log-likelihood and Brier score, question by question.

Everything here takes one distribution a question, the ensemble's mean as well as each member's, and needs the right
answer of every question: choose the labelled ones first.
"""

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, Int64

from kvorum.errors import KvorumError

# A probability of zero given to the right answer would cost infinitely much and hide every other question in the mean.
# The smallest normal number, not the smallest of all, because code that flushes subnormals to zero would undo it.
SMALLEST = float(np.finfo(np.float64).tiny)


def predicted(probs: Float[np.ndarray, "*axes candidate"]) -> Int64[np.ndarray, "*axes"]:
    """The index of the most probable candidate, never the rest; the first of several equal ones."""
    return probs.argmax(axis=-1)


def correct(
    probs: Float[np.ndarray, "*axes example candidate"], answers: Int[np.ndarray, "example"]
) -> Bool[np.ndarray, "*axes example"]:
    """Whether the most probable candidate is the right answer; its mean is the accuracy."""
    _check_answers(probs.shape[-1], answers)
    return predicted(probs) == answers


def nll(
    probs: Float[np.ndarray, "*axes example candidate"], answers: Int[np.ndarray, "example"]
) -> Float64[np.ndarray, "*axes example"]:
    """Negative log-likelihood -log p(answer), in nats, of the probability as it is: what went to the rest is a cost."""
    _check_answers(probs.shape[-1], answers)
    given = probs[..., np.arange(len(answers)), answers].astype(np.float64)
    return -np.log(np.maximum(given, SMALLEST))


def brier(
    probs: Float[np.ndarray, "*axes example candidate"],
    rest: Float[np.ndarray, "*axes example"],
    answers: Int[np.ndarray, "example"],
) -> Float64[np.ndarray, "*axes example"]:
    """Brier score, 0 (certain and right) to 2 (certain and wrong): sum over candidates and rest of (p - onehot)^2.

    Brier, "Verification of forecasts expressed in terms of probability", 1950.
    """
    _check_answers(probs.shape[-1], answers)
    onehot = np.arange(probs.shape[-1]) == answers[:, None]
    return ((probs - onehot) ** 2).sum(axis=-1, dtype=np.float64) + rest.astype(np.float64) ** 2


def _check_answers(candidates: int, answers: Int[np.ndarray, "example"]) -> None:
    outside = np.flatnonzero((answers < 0) | (answers >= candidates))
    if outside.size:
        raise KvorumError(
            f"question {outside[0] + 1}: the answer is {answers[outside[0]]}; expected 0 to {candidates - 1} "
            "(leave questions without a known answer out first)"
        )
