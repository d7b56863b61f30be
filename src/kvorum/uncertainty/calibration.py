"""Whether a confidence of 0.8 is right in 8 cases of 10: expected calibration error and the bins behind it.

The confidence of an answer is the probability of the top candidate (never of the rest). Two ways to bin it:

    width   `bins` intervals of equal width on [0, 1], each open below and closed above: (0, 0.1], (0.1, 0.2], ...
    mass    as many questions in each: edges at the quantiles k/bins of the confidences (interpolated, and closed
            above), as in scikit-learn's calibration curve. Equal confidences always share a bin, so with many of them
            (confidences saturated at 1) some bins are larger and others empty.

    ECE = sum over bins of |number right - sum of confidences| / number of questions

Naeini et al., AAAI 2015; Guo et al., arXiv 1706.04599; equal mass: Nixon et al., arXiv 1904.01685.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

from kvorum.errors import KvorumError, nearest
from kvorum.uncertainty.bootstrap import resampled_means

Scheme = Literal["width", "mass"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Reliability:
    """The bins of a reliability diagram; the means of an empty bin are nan."""

    lower: Float64[np.ndarray, "bin"]
    upper: Float64[np.ndarray, "bin"]
    questions: Int64[np.ndarray, "bin"]
    confidence: Float64[np.ndarray, "bin"]
    accuracy: Float64[np.ndarray, "bin"]


def confidence(probs: Float[np.ndarray, "*axes candidate"]) -> Float64[np.ndarray, "*axes"]:
    """The probability of the top candidate."""
    return probs.max(axis=-1).astype(np.float64)


def ece(
    confidence: Float64[np.ndarray, "example"],
    correct: Bool[np.ndarray, "example"],
    *,
    bins: int = 10,
    scheme: Scheme = "width",
) -> float:
    """Expected calibration error, 0 (calibrated) to 1; nan without questions."""
    once = np.ones((1, len(confidence)))
    return float(resampled_ece(confidence, correct, once, bins=bins, scheme=scheme)[0])


def reliability(
    confidence: Float64[np.ndarray, "example"],
    correct: Bool[np.ndarray, "example"],
    *,
    bins: int = 10,
    scheme: Scheme = "width",
) -> Reliability:
    """What the expected calibration error sums over, bin by bin, lowest confidence first."""
    edges = _edges(confidence, bins, scheme)
    bin_of = np.searchsorted(edges[1:-1], confidence, side="left")
    questions = np.bincount(bin_of, minlength=bins)
    with np.errstate(invalid="ignore"):
        return Reliability(
            lower=edges[:-1],
            upper=edges[1:],
            questions=questions,
            confidence=np.bincount(bin_of, weights=confidence, minlength=bins) / questions,
            accuracy=np.bincount(bin_of, weights=correct, minlength=bins) / questions,
        )


def resampled_ece(
    confidence: Float64[np.ndarray, "example"],
    correct: Bool[np.ndarray, "example"],
    counts: Float64[np.ndarray, "resample example"],
    *,
    bins: int = 10,
    scheme: Scheme = "width",
) -> Float64[np.ndarray, "resample"]:
    """The expected calibration error of each resample, given how often each question is in it; nan for an empty one."""
    _check(bins, scheme)
    if scheme == "width":
        gaps = resampled_means(gaps_of_equal_width(confidence, correct, bins=bins), counts)
    else:
        gaps = _gaps_of_equal_mass(confidence, correct - confidence, counts, bins)
    return np.abs(gaps).sum(axis=1)


def gaps_of_equal_width(
    confidence: Float64[np.ndarray, "example"], correct: Bool[np.ndarray, "example"], *, bins: int = 10
) -> Float64[np.ndarray, "example bin"]:
    """Of each question, 1 or 0 for right or wrong minus its confidence, in its bin; 0 in all others.

    The means over questions, without their signs, add up to the expected calibration error.
    """
    bin_of = np.searchsorted(_edges(confidence, bins, "width")[1:-1], confidence, side="left")
    return np.where(bin_of[:, None] == np.arange(bins), (correct - confidence)[:, None], 0.0)


def _edges(confidence: Float64[np.ndarray, "example"], bins: int, scheme: Scheme) -> Float64[np.ndarray, "edge"]:
    """Of equal mass: the first edge is the lowest confidence, and belongs to the first bin."""
    _check(bins, scheme)
    if scheme == "width" or not len(confidence):
        return np.linspace(0.0, 1.0, bins + 1)
    return np.sort(confidence)[_ranks(len(confidence), bins)]


def _ranks(questions: int, bins: int) -> Int64[np.ndarray, "edge"]:
    """The rank whose confidence closes each bin.

    An interpolated quantile lies between two neighbouring ranks; what is at or below it is what is at or below the
    lower of the two, and whole numbers say which that is without rounding.
    """
    return np.arange(bins + 1) * (questions - 1) // bins


def _gaps_of_equal_mass(
    confidence: Float64[np.ndarray, "example"],
    gap: Float64[np.ndarray, "example"],
    counts: Float64[np.ndarray, "resample example"],
    bins: int,
) -> Float64[np.ndarray, "resample bin"]:
    """What each bin adds to the error, up to its sign, every resample cut at its own quantiles."""
    if not len(confidence):
        return np.full((len(counts), bins), np.nan)
    order = np.argsort(confidence)
    last_equal = np.searchsorted(confidence[order], confidence[order], side="right") - 1
    # One number more than is drawn, since the last bin ends where everything does; clipped, since checked is slower.
    flat = np.zeros(counts.size + 1)
    drawn = np.take(counts, order, axis=1, out=flat[:-1].reshape(counts.shape), mode="clip")

    # Sums that run on from one resample into the next find the ranks of all of them in one search.
    sizes = drawn.sum(axis=1).astype(np.int64)
    ranks = (np.cumsum(sizes) - sizes)[:, None] + np.arange(1, bins) * (sizes[:, None] - 1) // bins
    starts = np.arange(len(drawn))[:, None] * len(order)
    closing = np.searchsorted(np.cumsum(drawn), ranks, side="right") - starts
    closing = last_equal[np.clip(closing, 0, len(order) - 1)]

    drawn *= gap[order]
    edges = np.hstack([starts, starts + closing + 1, starts + len(order)])
    gaps = np.add.reduceat(flat, edges.ravel()).reshape(edges.shape)[:, :-1]
    # Of a bin without questions reduceat gives the number at its edge, not 0.
    gaps = np.where(np.diff(edges, axis=1) > 0, gaps, 0.0)
    with np.errstate(invalid="ignore"):
        return gaps / sizes[:, None]


def _check(bins: int, scheme: str) -> None:
    if bins < 1:
        raise KvorumError(f"bins is {bins}; expected 1 or more")
    if scheme not in ("width", "mass"):
        raise KvorumError(f"'{scheme}' is no way to bin{nearest(scheme, ('width', 'mass'))}")
