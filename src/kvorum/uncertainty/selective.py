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
from jaxtyping import Bool, Float, Float64, Int64

from kvorum.errors import KvorumError
from kvorum.uncertainty.bootstrap import Interval, bootstrap
from kvorum.uncertainty.doubt import DOUBTS, doubt
from kvorum.uncertainty.scores import correct

STEPS = 100
"""Coverages that are tested for their risk."""
STARTS = (5, 10, 20, 40, 60, 80, 100)
"""Those of them that have a part of the error of their own."""


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


def risk_coverage(score: Float64[np.ndarray, "example"], wrong: Bool[np.ndarray, "example"]) -> RiskCoverage:
    """What answering the least doubted questions only would have cost, at every threshold."""
    order = np.argsort(score, kind="stable")
    last = np.flatnonzero(np.diff(score[order], append=np.inf) > 0)
    errors = np.cumsum(wrong[order])[last]
    return RiskCoverage(
        threshold=score[order][last], coverage=(last + 1) / max(1, len(score)), risk=errors / (last + 1)
    )


def aurc(score: Float64[np.ndarray, "example"], wrong: Bool[np.ndarray, "example"]) -> float:
    """Area under the risk-coverage curve, 0 (no wrong answer) to 1; nan without questions."""
    return float(resampled_aurc(score, wrong, np.ones((1, len(score))))[0])


def resampled_aurc(
    score: Float64[np.ndarray, "example"],
    wrong: Bool[np.ndarray, "example"],
    counts: Float64[np.ndarray, "resample example"],
) -> Float64[np.ndarray, "resample"]:
    """The area of each resample, given how often each question is in it; nan for an empty one."""
    order = np.argsort(score, kind="stable")
    groups = np.cumsum(np.diff(score[order], prepend=np.nan) != 0) - 1
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
    score: Float64[np.ndarray, "example"],
    wrong: Bool[np.ndarray, "example"],
    target: float,
    *,
    confidence: float,
) -> Threshold:
    """The threshold of most coverage of which it is known, with a confidence, that the risk is at most a target.

    Coverages are tested from 5% up: that the risk is above the target is rejected where so few wrong answers would be
    too rare. Seven of the tests begin with a seventh of one minus the confidence, and a test that rejects hands what it
    has on to the next; so no coverage is passed wrongly, but for one minus the confidence. Testing in a fixed order:
    Angelopoulos et al., "Learn then Test", arXiv 2110.01052; the way the level is handed on: Wiens, Pharmaceutical
    Statistics 2, 2003; on ranks: Geifman and El-Yaniv, arXiv 1705.08500.

    Raises `KvorumError` where no threshold is known to keep the risk.
    """
    parts = np.arange(1, STEPS + 1)
    grid = np.sort(score)[np.maximum(1, parts * len(score) // STEPS) - 1]
    answered, errors = _at(grid, score, wrong)
    level, chosen, nearest = 0.0, None, (1.0, 0)
    for place, part in enumerate(parts):
        if part in STARTS:
            level += (1 - confidence) / len(STARTS)
        bound = upper_bound(int(errors[place]), int(answered[place]), 1 - level)
        nearest = min(nearest, (bound, int(answered[place])))
        if bound > target:
            level = 0.0
            continue
        chosen = Threshold(
            value=float(grid[place]),
            answered=int(answered[place]),
            questions=len(score),
            wrong=int(errors[place]),
            risk_bound=bound,
            coverage_bound=None,
        )
    if chosen is None:
        raise KvorumError(
            f"no threshold is known to keep the risk at or below {target:g} with confidence {confidence:g}: of "
            f"{len(score)} questions, the {nearest[1]} least doubted ones come nearest, where it may be up to "
            f"{nearest[0]:.3f}; ask for more risk or less confidence, choose another score of doubt, or calibrate on "
            "more questions"
        )
    return chosen


def threshold_for_coverage(
    score: Float64[np.ndarray, "example"],
    wrong: Bool[np.ndarray, "example"],
    target: float,
    *,
    confidence: float,
) -> Threshold:
    """The threshold that answers a share of the questions seen, with bounds on risk and coverage of others."""
    rank = max(1, math.ceil(target * len(score) - 1e-9))
    value = np.sort(score)[rank - 1]
    inside = score <= value
    answered, errors = int(inside.sum()), int(wrong[inside].sum())
    return Threshold(
        value=float(value),
        answered=answered,
        questions=len(score),
        wrong=errors,
        risk_bound=upper_bound(errors, answered, confidence),
        coverage_bound=lower_bound(rank, len(score), confidence),
    )


def _at(
    grid: Float64[np.ndarray, "level"], score: Float64[np.ndarray, "example"], wrong: Bool[np.ndarray, "example"]
) -> tuple[Int64[np.ndarray, "level"], Int64[np.ndarray, "level"]]:
    """How many questions are answered at each threshold, and how many of them wrongly."""
    order = np.argsort(score, kind="stable")
    answered = np.searchsorted(score[order], grid, side="right")
    return answered.astype(np.int64), np.concatenate([[0], np.cumsum(wrong[order])])[answered].astype(np.int64)


def selective(
    probs: Float[np.ndarray, "member example candidate"],
    rest: Float[np.ndarray, "member example"],
    answers: Int64[np.ndarray, "example"],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, dict[str, Interval]]:
    """By score of doubt, `aurc` and `excess` with 95% intervals over the questions whose answer is known."""
    known = answers >= 0
    probs, rest, answers = probs[:, known], rest[:, known], answers[known]
    wrong = ~correct(probs.mean(axis=0, dtype=np.float64), answers)
    scores = {name: doubt(name, probs, rest) for name in DOUBTS}

    def statistics(counts: Float64[np.ndarray, "resample example"]) -> dict[str, Float64[np.ndarray, "resample"]]:
        ideal = resampled_ideal_aurc(wrong, counts)
        areas = {name: resampled_aurc(score, wrong, counts) for name, score in scores.items()}
        found = {f"{name}/aurc": area for name, area in areas.items()}
        return found | {f"{name}/excess": area - ideal for name, area in areas.items()}

    found = bootstrap(statistics, [len(answers)], resamples=resamples, seed=seed)
    return {name: {what: found[f"{name}/{what}"] for what in ("aurc", "excess")} for name in DOUBTS}
