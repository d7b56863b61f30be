"""A number that every seed gives: its mean over them, and how far that mean would move with other seeds."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

LEVEL = 0.95
ROUNDING = 1e-9
"""What rounding leaves of equal numbers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A mean over seeds with its t interval, None where it is not defined: an interval takes two seeds."""

    per_seed: tuple[float | None, ...]
    """In the order of the experiment's seeds; None for one that has no such number."""
    value: float | None
    low: float | None
    high: float | None
    level: float
    """Of the interval."""

    @classmethod
    def of(cls, values: Iterable[float | None], level: float = LEVEL) -> "Estimate":
        """mean ± t * s / sqrt(n), with s of n - 1 degrees of freedom; over the seeds that have the number."""
        from scipy.special import stdtrit

        per_seed = tuple(None if value is None or not math.isfinite(value) else float(value) for value in values)
        known = np.array([value for value in per_seed if value is not None])
        if not known.size:
            return cls(per_seed=per_seed, value=None, low=None, high=None, level=level)
        mean = float(known.mean())
        if known.size == 1:
            return cls(per_seed=per_seed, value=mean, low=None, high=None, level=level)
        error = float(known.std(ddof=1) / math.sqrt(known.size))
        width = float(stdtrit(known.size - 1, (1 + level) / 2)) * error
        return cls(per_seed=per_seed, value=mean, low=mean - width, high=mean + width, level=level)

    @property
    def seeds(self) -> int:
        """How many seeds have the number."""
        return sum(value is not None for value in self.per_seed)

    @property
    def least(self) -> float | None:
        """Among the seeds."""
        return min((value for value in self.per_seed if value is not None), default=None)

    @property
    def greatest(self) -> float | None:
        """Among the seeds."""
        return max((value for value in self.per_seed if value is not None), default=None)

    def side_of(self, number: float) -> int:
        """1 where the whole interval lies above a number, -1 where below; 0 where it holds it, or there is none."""
        if self.low is None or self.high is None:
            return 0
        return int(self.low > number + ROUNDING) - int(self.high < number - ROUNDING)

    def exponential(self) -> "Estimate":
        """Of an estimate of logarithms: the geometric mean, its interval, and the seeds' own numbers."""
        lifted = tuple(None if value is None else math.exp(value) for value in self.per_seed)
        # An interval over two seeds may reach beyond what a float can hold.
        value, low, high = (
            None if each is None else math.exp(min(each, 700.0)) for each in (self.value, self.low, self.high)
        )
        return replace(self, per_seed=lifted, value=value, low=low, high=high)


def corrected(comparisons: int) -> float:
    """The level of each of several intervals such that all of them hold at once in 95% of cases (Bonferroni)."""
    return 1 - (1 - LEVEL) / max(1, comparisons)
