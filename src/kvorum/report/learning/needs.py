"""How many labels a function needs to come to an accuracy, and how many times as many as random."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from kvorum.report.learning.estimate import ROUNDING, Estimate
from kvorum.report.learning.read import Rounds

QUARTERS = (0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """An accuracy to reach on the first test task."""

    accuracy: float
    way: float | None
    """How much of random's way from the start to its best it is, both as means over seeds; None where it was asked
    for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Need:
    """The labels at which a function's accuracy first reaches a target, linear between rounds."""

    target: Target
    per_seed: tuple[float | None, ...]
    """None where it is not reached."""
    reached: int
    """Seeds in which it is."""
    at_start: int
    """Those among them in which the start reaches it, so that fewer labels might do as well."""
    median: float | None
    """Over all seeds, one that does not reach it needing more than any; None where that is the median."""
    least: float | None
    most: float | None
    """None where a seed does not reach it."""
    by_mean: float | None
    """The same of the curve of the mean over seeds."""
    within: int
    """Labels that the function has come to."""
    ratio: Estimate | None
    """Labels needed over those that random needs: geometric mean over the seeds in which both reach it."""
    only_this: int
    """Seeds that the ratio leaves out because random does not reach it,"""
    only_random: int
    """or because this function does not."""

    @property
    def told(self) -> int:
        """-1 where it needs fewer labels than random, 1 where more, 0 where nothing can be told.

        A ratio that leaves out the seeds in which a function fails says nothing in that function's favour.
        """
        side = self.ratio.side_of(1.0) if self.ratio else 0
        if (side < 0 and self.only_random) or (side > 0 and self.only_this):
            return 0
        return side


def targets_of(asked: Sequence[float], random: Rounds | None, task: str) -> tuple[Target, ...]:
    """Those asked for; or quarters of random's way, and none where random is not there or does not rise."""
    if asked:
        return tuple(Target(accuracy=accuracy, way=None) for accuracy in sorted(set(asked)))
    if random is None:
        return ()
    mean = random.scores[task]["accuracy"].mean(axis=1)
    start, best = float(mean[0]), float(mean.max())
    if not best > start + ROUNDING:
        return ()
    return tuple(Target(accuracy=best - (1 - way) * (best - start), way=way) for way in QUARTERS)


def need_of(rounds: Rounds, random: Rounds | None, task: str, target: Target, level: float) -> Need:
    """What a function needs for a target; `level` is that of the ratio's interval."""
    curves = rounds.scores[task]["accuracy"]
    per_seed = tuple(crossing(rounds.labels, curve, target.accuracy) for curve in curves.T)
    known = [labels for labels in per_seed if labels is not None]
    median = float(np.median([math.inf if labels is None else labels for labels in per_seed]))
    ratio, only_this, only_random = None, 0, 0
    if random is not None and random is not rounds:
        others = [crossing(random.labels, curve, target.accuracy) for curve in random.scores[task]["accuracy"].T]
        pairs = list(zip(per_seed, others, strict=True))
        logs = [math.log(own / other) if own is not None and other is not None else None for own, other in pairs]
        if any(each is not None for each in logs):
            ratio = Estimate.of(logs, level).exponential()
        only_this = sum(own is not None and other is None for own, other in pairs)
        only_random = sum(own is None and other is not None for own, other in pairs)
    return Need(
        target=target,
        per_seed=per_seed,
        reached=len(known),
        at_start=sum(bool(curve[0] >= target.accuracy - ROUNDING) for curve in curves.T),
        median=median if math.isfinite(median) else None,
        least=min(known, default=None),
        most=max(known) if len(known) == len(per_seed) else None,
        by_mean=crossing(rounds.labels, curves.mean(axis=1), target.accuracy),
        within=rounds.labels[-1],
        ratio=ratio,
        only_this=only_this,
        only_random=only_random,
    )


def crossing(labels: Sequence[int], curve: Float64[np.ndarray, "round"], accuracy: float) -> float | None:
    """The labels at which a curve, linear between rounds, first reaches an accuracy; None where it does not."""
    above = np.flatnonzero(curve >= accuracy - ROUNDING)
    if not above.size:
        return None
    after = int(above[0])
    if after == 0:
        return float(labels[0])
    before, rise = curve[after - 1], curve[after] - curve[after - 1]
    return float(labels[after - 1] + min(1.0, (accuracy - before) / rise) * (labels[after] - labels[after - 1]))
