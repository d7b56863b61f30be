"""Whether doubt tells questions of another kind from those in domain: detection out of domain.

Positive is the other task's question, flagged by a high score of doubt.

    AUROC        P(doubt of a positive > that of a negative) + P(equal) / 2; 0.5 is chance
    AUPR         mean precision over the positives (average precision); chance is the share of positives
    FPR at 95    share of in-domain questions flagged where at least 95% of the other task's are; lower is better

Hendrycks and Gimpel, arXiv 1610.02136; average precision as in scikit-learn.
"""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float64

from kvorum.uncertainty.bootstrap import Interval, bootstrap
from kvorum.uncertainty.doubt import DOUBTS, doubt
from kvorum.uncertainty.ranking import resampled_auroc

TRUE_POSITIVES = 0.95
MEASURES = ("auroc", "aupr", "fpr95")


def detection(
    inside: tuple[Float64[np.ndarray, "member inner candidate"], Float64[np.ndarray, "member inner"]],
    other: tuple[Float64[np.ndarray, "member outer width"], Float64[np.ndarray, "member outer"]],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, dict[str, Interval]]:
    """By score of doubt: how well it tells another task's questions from those in domain, each `(probs, rest)`.

    With 95% bootstrap intervals, both tasks resampled, each for itself.
    """
    sizes = [inside[1].shape[1], other[1].shape[1]]
    positive = np.repeat([False, True], sizes)
    scores = {name: np.concatenate([doubt(name, *task) for task in (inside, other)]) for name in DOUBTS}

    def statistics(counts: Float64[np.ndarray, "resample example"]) -> dict[str, Any]:
        found = {}
        for name, score in scores.items():
            found[f"{name}/auroc"] = resampled_auroc(score, positive, counts)
            found[f"{name}/aupr"], found[f"{name}/fpr95"] = resampled_detection(score, positive, counts)
        return found

    found = bootstrap(statistics, sizes, resamples=resamples, seed=seed)
    return {name: {measure: found[f"{name}/{measure}"] for measure in MEASURES} for name in DOUBTS}


def resampled_detection(
    score: Float64[np.ndarray, "example"],
    positive: Bool[np.ndarray, "example"],
    counts: Float64[np.ndarray, "resample example"],
) -> tuple[Float64[np.ndarray, "resample"], Float64[np.ndarray, "resample"]]:
    """Average precision, and the false positive rate where 95% of the positives are found, of each resample.

    nan unless there are positives and negatives.
    """
    if not len(score):
        return np.full(len(counts), np.nan), np.full(len(counts), np.nan)
    order = np.argsort(-score, kind="stable")
    distinct = np.flatnonzero(np.diff(-score[order], prepend=np.nan) != 0)
    drawn, truth = counts[:, order], positive[order]
    found = np.cumsum(np.add.reduceat(drawn * truth, distinct, axis=1), axis=1)
    false = np.cumsum(np.add.reduceat(drawn * ~truth, distinct, axis=1), axis=1)
    positives, negatives = found[:, -1:], false[:, -1:]
    with np.errstate(invalid="ignore", divide="ignore"):
        recall = found / positives
        precision = np.where(found + false > 0, found / (found + false), 0.0)
        average = (np.diff(recall, axis=1, prepend=0.0) * precision).sum(axis=1)
        reached = (recall >= TRUE_POSITIVES - 1e-12).argmax(axis=1)
        rate = (false / negatives)[np.arange(len(counts)), reached]
    undefined = (positives[:, 0] == 0) | (negatives[:, 0] == 0)
    return np.where(undefined, np.nan, average), np.where(undefined, np.nan, rate)
