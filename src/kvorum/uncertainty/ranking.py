"""Whether a score sorts questions as it should: the uncertain ones first.

    AUROC = P(score of a positive > score of a negative) + P(equal) / 2

0.5 is chance and 1 a perfect order. Positive is what ought to be more uncertain: the wrong answers, or the questions of
the other task. Hanley and McNeil, Radiology 143, 1982.
"""

import numpy as np
from jaxtyping import Bool, Float64


def auroc(score: Float64[np.ndarray, "example"], positive: Bool[np.ndarray, "example"]) -> float:
    """Area under the ROC curve, 0 to 1; nan unless there are positives and negatives."""
    return float(resampled_auroc(score, positive, np.ones((1, len(score))))[0])


def resampled_auroc(
    score: Float64[np.ndarray, "example"],
    positive: Bool[np.ndarray, "example"],
    counts: Float64[np.ndarray, "resample example"],
) -> Float64[np.ndarray, "resample"]:
    """The area under the ROC curve of each resample, given how often each question is in it; nan without a class."""
    if not len(score):
        return np.full(len(counts), np.nan)
    order = np.argsort(score)
    counts, positive = counts[:, order], positive[order]
    distinct = np.flatnonzero(np.diff(score[order], prepend=np.nan) != 0)
    positives = np.add.reduceat(counts * positive, distinct, axis=1)
    negatives = np.add.reduceat(counts * ~positive, distinct, axis=1)
    below = np.cumsum(negatives, axis=1) - negatives / 2
    with np.errstate(invalid="ignore"):
        return (positives * below).sum(axis=1) / (positives.sum(axis=1) * negatives.sum(axis=1))
