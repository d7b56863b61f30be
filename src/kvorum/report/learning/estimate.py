"""A number that every seed gives: its mean over them, and how far that mean would move with other seeds."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

LEVEL = 0.95
ROUNDING = 1e-9
"""What rounding leaves of equal numbers."""
FEWEST_SEEDS = 3
"""That make an interval: two agree by luck too often, and theirs would be 12.7 standard errors wide either way."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A mean over seeds with its t interval; None where too few seeds have the number, or all the same (`alike`)."""

    per_seed: tuple[float | None, ...]
    """In the order of the experiment's seeds; None for one that has no such number."""
    value: float | None
    low: float | None
    high: float | None
    level: float
    """Of the interval."""

    @classmethod
    def of(cls, values: Iterable[float | None], level: float = LEVEL, floor: float = 0.0) -> "Estimate":
        """mean ± t * max(s, floor) / sqrt(n), with n - 1 degrees of freedom; over the seeds that have the number.

        `floor` is the standard deviation of one seed's number that its resolution alone makes (`of_accuracy`,
        `of_share`): a few seeds that agree to the last question are not therefore certain. Without it there is no
        interval where all agree.
        """
        from scipy.special import stdtrit

        per_seed = tuple(None if value is None or not math.isfinite(value) else float(value) for value in values)
        known = np.array([value for value in per_seed if value is not None])
        if not known.size:
            return cls(per_seed=per_seed, value=None, low=None, high=None, level=level)
        mean = float(known.mean())
        same = float(np.ptp(known)) <= ROUNDING
        if known.size < FEWEST_SEEDS or (same and not floor):
            return cls(per_seed=per_seed, value=mean, low=None, high=None, level=level)
        error = max(float(known.std(ddof=1)), floor) / math.sqrt(known.size)
        width = float(stdtrit(known.size - 1, (1 + level) / 2)) * error
        return cls(per_seed=per_seed, value=mean, low=mean - width, high=mean + width, level=level)

    @property
    def seeds(self) -> int:
        """How many seeds have the number."""
        return sum(value is not None for value in self.per_seed)

    @property
    def alike(self) -> bool:
        """Whether enough seeds have the number, and there is no interval because it is the same in all of them."""
        return self.seeds >= FEWEST_SEEDS and self.low is None

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
        # An interval over a few seeds may reach beyond what a float can hold.
        value, low, high = (
            None if each is None else math.exp(min(each, 700.0)) for each in (self.value, self.low, self.high)
        )
        return replace(self, per_seed=lifted, value=value, low=low, high=high)


def of_accuracy(questions: int) -> float:
    """The floor of an accuracy over so many questions: the error of rounding to a multiple of 1 / questions."""
    return 1 / (math.sqrt(12) * questions) if questions else 0.0


def of_share(hits: int, of: int, seeds: int) -> float:
    """The floor of a share that is counted in all seeds together: the binomial error, for each of the seeds.

    With two hits and two misses added (Agresti and Coull 1998), since none in 36 does not show that there are none.
    """
    share = (hits + 2) / (of + 4)
    return math.sqrt(share * (1 - share) * seeds / of) if of else 0.0


def corrected(comparisons: int) -> float:
    """The level of each of several intervals such that all of them hold at once in 95% of cases (Bonferroni)."""
    return 1 - (1 - LEVEL) / max(1, comparisons)
