"""Sets of answers that hold the right one with a given probability, whatever the model: split conformal prediction.

The right answer of every calibration question gets a score of how ill it fits; a candidate of a new question is in its
set where it fits no worse than the k-th smallest of n scores, k = ceil((n + 1) (1 - alpha)). Over calibration sets and
new questions that are exchangeable with them, the set holds the right answer with a probability of at least 1 - alpha,
and, without ties, of at most 1 - alpha + 1 / (n + 1).

    lac        1 - the candidate's probability: the smallest sets on average; a set may be empty, where no candidate is
               likely enough. Sadinle, Lei and Wasserman, JASA 114, 2019.
    adaptive   the probability of the candidates that are more likely: larger sets where there is more doubt; never
               empty. Romano, Sesia and Candes, NeurIPS 2020, without their randomisation (u = 0), so that the same
               question always gets the same set.
"""

import math
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Float64, Int64

ConformalMethod = Literal["lac", "adaptive"]
METHODS: tuple[ConformalMethod, ...] = get_args(ConformalMethod)


def nonconformity(
    method: ConformalMethod, mean: Float64[np.ndarray, "example candidate"]
) -> Float64[np.ndarray, "example candidate"]:
    """How ill each candidate fits."""
    if method == "lac":
        return 1.0 - mean
    order = np.argsort(-mean, axis=1, kind="stable")
    descending = np.take_along_axis(mean, order, axis=1)
    # Equal probabilities are none more likely than the other.
    first_equal = np.maximum.accumulate(
        np.where(np.diff(descending, axis=1, prepend=np.inf) != 0, np.arange(mean.shape[1]), 0), axis=1
    )
    above = np.take_along_axis(np.cumsum(descending, axis=1) - descending, first_equal, axis=1)
    found = np.empty_like(mean)
    np.put_along_axis(found, order, above, axis=1)
    return found


def conformal_rank(questions: int, alpha: float) -> int:
    """k: which of the calibration scores, from the smallest, is the threshold; above `questions` there is none."""
    return max(1, math.ceil((questions + 1) * (1 - alpha) - 1e-9))


def conformal_threshold(
    method: ConformalMethod,
    mean: Float64[np.ndarray, "example candidate"],
    answers: Int64[np.ndarray, "example"],
    alpha: float,
) -> float:
    """The largest score that is still in a set; infinite, so that every candidate is, where there are too few
    questions for the guarantee."""
    scores = nonconformity(method, mean)[np.arange(len(answers)), answers]
    rank = conformal_rank(len(scores), alpha)
    return float(np.sort(scores)[rank - 1]) if rank <= len(scores) else math.inf


def conformal_sets(
    method: ConformalMethod,
    mean: Float64[np.ndarray, "example candidate"],
    counts: Int64[np.ndarray, "example"],
    threshold: float,
) -> Bool[np.ndarray, "example candidate"]:
    """Which candidates are in each question's set; `counts` are how many candidates each question has."""
    within = nonconformity(method, mean) <= threshold + ROUNDING
    return within & (np.arange(mean.shape[1]) < counts[:, None])


ROUNDING = 1e-12
"""By which a score may differ when the same probabilities are added up again."""


def coverage_bound(questions: int, alpha: float, confidence: float) -> float:
    """What the coverage of sets from so many calibration questions does not fall below, but for one minus the
    confidence: a quantile of its distribution Beta(k, n + 1 - k). Vovk, "Conditional validity", 2012."""
    from scipy.stats import beta

    rank = conformal_rank(questions, alpha)
    return 1.0 if rank > questions else float(beta.ppf(1 - confidence, rank, questions + 1 - rank))
