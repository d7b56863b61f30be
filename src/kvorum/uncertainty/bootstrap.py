"""How far a number would move with other questions: percentile intervals of the bootstrap over questions.

The members are held fixed: an interval says nothing about how another ensemble would have come out. Nor does it know of
what was not seen: where every answer is right it shrinks to a point.

A resample is never laid out; it is a count a question of how often it was drawn. A statistic takes the counts of many
resamples at once, and its value on the questions themselves is its value where every count is 1.

Efron, "Bootstrap methods: another look at the jackknife", 1979.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TypedDict

import numpy as np
from jaxtyping import Float64, UInt32

from kvorum.errors import KvorumError

LEVEL = 0.95
COUNTS_BYTES = 8 * 2**20
"""Of one chunk of counts; the statistics need a few times as much beside it."""

MOST_KEPT = 2**24
"""Counts of a stratum up to which they are kept for the next bootstrap; 64 MiB."""

Counts = UInt32[np.ndarray, "resample example"]
Statistics = Callable[[Float64[np.ndarray, "resample example"]], Mapping[str, Float64[np.ndarray, "resample"]]]


class Interval(TypedDict):
    """A number and its 95% interval; None where it is not defined."""

    value: float | None
    low: float | None
    high: float | None


def bootstrap(
    statistics: Statistics,
    strata: Sequence[int],
    *,
    resamples: int = 1000,
    seed: int = 0,
    reflected: Collection[str] = (),
    least: float = 0.0,
    level: float = LEVEL,
) -> dict[str, Interval]:
    """The value of each statistic with its percentile interval, which holds the true one in 95% of cases.

    `strata` are the sizes of the groups of questions that are resampled each for itself, laid end to end in the counts:
    one number for one task. Resamples in which a statistic is nan (no wrong answer among them) are left out of its
    interval. The same seed gives the same intervals.

    A sum of absolute errors, as the calibration error is, comes out too high, and higher still in a resample: for the
    `reflected` statistics, none below `least`, the percentiles are mirrored at the value, which takes that bias back
    (the "basic" bootstrap interval; Davison and Hinkley, "Bootstrap methods and their application", 1997, section 5.2).
    A difference of two such sums needs it too, since the bias is the larger the smaller the sum.
    """
    if resamples < 1:
        raise KvorumError(f"resamples is {resamples}; expected 1 or more")
    values = statistics(np.ones((1, sum(strata))))
    chunks = [statistics(counts) for counts in resampled_counts(strata, resamples=resamples, seed=seed)]
    return {
        name: _interval(
            float(value[0]),
            np.concatenate([chunk[name] for chunk in chunks]),
            level=level,
            least=least if name in reflected else None,
        )
        for name, value in values.items()
    }


def resampled_counts(
    strata: Sequence[int], *, resamples: int, seed: int
) -> Iterator[Float64[np.ndarray, "resample example"]]:
    """How often each question was drawn, for some resamples at a time; the split into chunks changes no number."""
    at_once = max(1, COUNTS_BYTES // (8 * max(1, sum(strata))))
    parts = [_parts(size, stratum, resamples, seed, at_once) for stratum, size in enumerate(strata)]
    for drawn in zip(*parts, strict=True):
        yield np.concatenate(drawn, axis=1).astype(np.float64)


def resampled_means(
    values: Float64[np.ndarray, "example quantity"], counts: Float64[np.ndarray, "resample example"]
) -> Float64[np.ndarray, "resample quantity"]:
    """The mean of each quantity in each resample, given how often each question is in it; nan for an empty one."""
    with np.errstate(invalid="ignore"):
        return counts @ values / counts.sum(axis=1, keepdims=True)


def _parts(size: int, stratum: int, resamples: int, seed: int, at_once: int) -> Iterator[Counts]:
    """A stratum's counts, some resamples at a time."""
    if size * resamples <= MOST_KEPT:
        kept = _kept(size, stratum, resamples, seed)
        yield from (kept[start : start + at_once] for start in range(0, resamples, at_once))
        return
    generator = np.random.default_rng((seed, stratum))
    for start in range(0, resamples, at_once):
        yield _draw(min(at_once, resamples - start), size, generator)


@lru_cache(maxsize=8)
def _kept(size: int, stratum: int, resamples: int, seed: int) -> Counts:
    """A report asks for the same resamples again and again: of every task, at every epoch, for every number."""
    return _draw(resamples, size, np.random.default_rng((seed, stratum)))


def _draw(rows: int, size: int, generator: np.random.Generator) -> Counts:
    counts = np.zeros((rows, size), np.uint32)
    for start in range(0, rows if size else 0, 64):
        some = counts[start : start + 64]
        drawn = generator.integers(size, size=some.shape) + np.arange(len(some))[:, None] * size
        some[:] = np.bincount(drawn.ravel(), minlength=some.size).reshape(some.shape)
    return counts


def _interval(
    value: float, resampled: Float64[np.ndarray, "resample"], *, level: float, least: float | None
) -> Interval:
    """`least` is that of a statistic whose percentiles are to be mirrored; None for one where they are not."""
    defined = resampled[~np.isnan(resampled)]
    if np.isnan(value) or not len(defined):
        return Interval(value=None if np.isnan(value) else value, low=None, high=None)
    tail = (1 - level) / 2
    low, high = (float(bound) for bound in np.quantile(defined, [tail, 1 - tail]))
    if least is not None:
        low, high = min(value, max(least, 2 * value - high)), max(value, 2 * value - low)
    return Interval(value=value, low=low, high=high)
