"""Answering only where a score of doubt is low: what risk is left at which coverage, and where to draw the line.

    coverage   share of the questions that are answered
    risk       share of wrong answers among those
    AURC       mean over k of the risk of the k least doubted questions
    excess     AURC minus that of a score that puts every right answer before every wrong one

Questions of equal doubt count as if in every order at once. El-Yaniv and Wiener, JMLR 11, 2010; Geifman, Uziel and
El-Yaniv, "Bias-reduced uncertainty estimation", arXiv 1805.08206.

Bounds are Clopper and Pearson's, Biometrika 26, 1934, of the wrong ones among the k least doubted questions: given the
next doubt, these are drawn independently from below it. They hold for questions drawn as those seen were drawn, and for
nothing else, and for a risk that does not fall as more is answered, without which no threshold would make sense.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from kvorum.errors import KvorumError

STEPS, STARTS = 100, 5
"""Of coverages that are tested for their risk, and of those with a part of the error of their own."""


@dataclass(frozen=True, kw_only=True, eq=False)
class RiskCoverage:
    """The risk at every coverage that a threshold can have, by rising coverage."""

    threshold: Float64[np.ndarray, "level"]
    """Answered is what has at most this doubt."""
    coverage: Float64[np.ndarray, "level"]
    risk: Float64[np.ndarray, "level"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Threshold:
    """Where answering ends, and what is known of it."""

    value: float
    """Answered is what has at most this doubt."""
    answered: int
    questions: int
    wrong: int
    """Of those answered."""
    risk_bound: float
    """What the risk does not exceed, but for one minus the confidence."""
    coverage_bound: float | None
    """What the coverage does not fall below, but for one minus the confidence; None where only risk was asked for."""


def risk_coverage(doubt: Float64[np.ndarray, "example"], wrong: Bool[np.ndarray, "example"]) -> RiskCoverage:
    """What answering the least doubted questions only would have cost, at every threshold."""
    order = np.argsort(doubt, kind="stable")
    last = np.flatnonzero(np.diff(doubt[order], append=np.inf) > 0)
    errors = np.cumsum(wrong[order])[last]
    return RiskCoverage(
        threshold=doubt[order][last], coverage=(last + 1) / max(1, len(doubt)), risk=errors / (last + 1)
    )


def aurc(doubt: Float64[np.ndarray, "example"], wrong: Bool[np.ndarray, "example"]) -> float:
    """Area under the risk-coverage curve, 0 (no wrong answer) to 1; nan without questions."""
    return float(resampled_aurc(doubt, wrong, np.ones((1, len(doubt))))[0])


def resampled_aurc(
    doubt: Float64[np.ndarray, "example"],
    wrong: Bool[np.ndarray, "example"],
    counts: Float64[np.ndarray, "resample example"],
) -> Float64[np.ndarray, "resample"]:
    """The area of each resample, given how often each question is in it; nan for an empty one."""
    order = np.argsort(doubt, kind="stable")
    groups = np.cumsum(np.diff(doubt[order], prepend=np.nan) != 0) - 1
    found = np.full(len(counts), np.nan)
    for place, drawn in enumerate(counts[:, order].astype(np.int64)):
        if not drawn.any():
            continue
        questions = np.bincount(groups, weights=drawn)
        with np.errstate(invalid="ignore"):
            each = np.bincount(groups, weights=drawn * wrong[order]) / questions
        errors = np.repeat(each, questions.astype(np.int64)).cumsum()
        found[place] = (errors / np.arange(1, len(errors) + 1)).mean()
    return found


def resampled_ideal_aurc(
    wrong: Bool[np.ndarray, "example"], counts: Float64[np.ndarray, "resample example"]
) -> Float64[np.ndarray, "resample"]:
    """The area under the curve of a score that doubts exactly the wrong answers, in each resample."""
    found = np.full(len(counts), np.nan)
    for place, drawn in enumerate(counts):
        questions, errors = round(drawn.sum()), round(drawn[wrong].sum())
        if questions:
            reached = np.arange(1, errors + 1)
            found[place] = (reached / (questions - errors + reached)).sum() / questions
    return found


def upper_bound(wrong: int, answered: int, confidence: float) -> float:
    """What the rate behind so many wrong answers does not exceed, but for one minus the confidence."""
    from scipy.stats import beta

    return 1.0 if wrong >= answered else float(beta.ppf(confidence, wrong + 1, answered - wrong))


def lower_bound(answered: int, questions: int, confidence: float) -> float:
    """What the rate behind so many answered questions does not fall below, but for one minus the confidence."""
    return 1.0 - upper_bound(questions - answered, questions, confidence)


def threshold_for_risk(
    doubt: Float64[np.ndarray, "example"],
    wrong: Bool[np.ndarray, "example"],
    target: float,
    *,
    confidence: float,
) -> Threshold:
    """The threshold of most coverage of which it is known, with a confidence, that the risk is at most a target.

    Coverages are tested from the smallest up: that the risk is above the target is rejected where so few wrong answers
    would be too rare. The tests at each fifth of the questions begin with a fifth of one minus the confidence, and a
    test that rejects hands what it has on to the next; so no coverage is passed wrongly, but for one minus the
    confidence. Testing in a fixed order: Angelopoulos et al., "Learn then Test", arXiv 2110.01052; the way the level
    is handed on: Wiens, Pharmaceutical Statistics 2, 2003; on ranks: Geifman and El-Yaniv, arXiv 1705.08500.

    Raises `KvorumError` where no threshold is known to keep the risk.
    """
    parts = np.arange(1, STEPS + 1)
    grid = np.sort(doubt)[np.maximum(1, parts * len(doubt) // STEPS) - 1]
    answered, errors = _at(grid, doubt, wrong)
    level, chosen = 0.0, None
    for place, part in enumerate(parts):
        if part % (STEPS // STARTS) == 0:
            level += (1 - confidence) / STARTS
        bound = upper_bound(int(errors[place]), int(answered[place]), 1 - level)
        if bound > target:
            level = 0.0
            continue
        chosen = Threshold(
            value=float(grid[place]),
            answered=int(answered[place]),
            questions=len(doubt),
            wrong=int(errors[place]),
            risk_bound=bound,
            coverage_bound=None,
        )
    if chosen is None:
        raise KvorumError(_unreachable(answered, errors, len(doubt), target, confidence))
    return chosen


def threshold_for_coverage(
    doubt: Float64[np.ndarray, "example"],
    wrong: Bool[np.ndarray, "example"],
    target: float,
    *,
    confidence: float,
) -> Threshold:
    """The threshold that answers a share of the questions seen, with bounds on risk and coverage of others."""
    rank = max(1, math.ceil(target * len(doubt) - 1e-9))
    value = np.sort(doubt)[rank - 1]
    inside = doubt <= value
    answered, errors = int(inside.sum()), int(wrong[inside].sum())
    return Threshold(
        value=float(value),
        answered=answered,
        questions=len(doubt),
        wrong=errors,
        risk_bound=upper_bound(errors, answered, confidence),
        coverage_bound=lower_bound(rank, len(doubt), confidence) if rank < len(doubt) else _all_seen(rank, confidence),
    )


def _all_seen(questions: int, confidence: float) -> float:
    """The share of others that lies at or below the largest of so many."""
    return float((1 - confidence) ** (1 / questions))


def _at(
    grid: Float64[np.ndarray, "level"], doubt: Float64[np.ndarray, "example"], wrong: Bool[np.ndarray, "example"]
) -> tuple[Int64[np.ndarray, "level"], Int64[np.ndarray, "level"]]:
    """How many questions are answered at each threshold, and how many of them wrongly."""
    order = np.argsort(doubt, kind="stable")
    answered = np.searchsorted(doubt[order], grid, side="right")
    return answered.astype(np.int64), np.concatenate([[0], np.cumsum(wrong[order])])[answered].astype(np.int64)


def _unreachable(
    answered: Int64[np.ndarray, "level"],
    errors: Int64[np.ndarray, "level"],
    questions: int,
    target: float,
    confidence: float,
) -> str:
    least = min(
        (upper_bound(int(wrong), int(count), confidence), int(count))
        for wrong, count in zip(errors, answered, strict=True)
    )
    return (
        f"no threshold is known to keep the risk at or below {target:g} with confidence {confidence:g}: of {questions} "
        f"questions, the {least[1]} least doubted ones come nearest, where it may be up to {least[0]:.3f}; ask for "
        "more risk or less confidence, choose another --score, or calibrate on more questions"
    )
