"""How many labels a function needs to come to an accuracy, and how many times as many as random."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from kvorum.report.learning.curves import shared_rounds
from kvorum.report.learning.estimate import ROUNDING, Estimate, of_accuracy
from kvorum.report.learning.read import Rounds, Test

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
    """Those among them in which the start reaches it, so that fewer labels might do as well, of any function."""
    median: float | None
    """Over all seeds, one that does not reach it needing more than any; None where that is the median."""
    least: float | None
    most: float | None
    """None where a seed does not reach it."""
    by_mean: float | None
    """The same of the curve of the mean over seeds."""
    mean_at_start: bool
    """Whether the start reaches it by that curve."""
    within: int
    """Labels that the function has come to."""
    begun: bool
    """Whether it has done a round; if not, nothing is known of it."""
    compared_within: int | None
    """Labels that it and random have both come to by rounds; None where they are not compared. What follows is within
    them."""
    ratio: Estimate | None
    """Labels needed over those that random needs: geometric mean over the seeds in which both reach it after the start.
    Its floor is what one test question moves the two crossings by."""
    only_this: int
    """Seeds that the ratio leaves out because random does not reach it,"""
    only_random: int
    """or because this function does not."""

    @property
    def both(self) -> int:
        """Seeds in which it and random reach it, be it at the start."""
        return self.at_start + (self.ratio.seeds if self.ratio else 0)

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


def need_of(rounds: Rounds, random: Rounds | None, test: Test, target: Target, level: float) -> Need:
    """What a function needs for a target; `level` is that of the ratio's interval."""
    curves = rounds.scores[test.task]["accuracy"]
    per_seed = tuple(crossing(rounds.labels, curve, target.accuracy) for curve in curves.T)
    known = [labels for labels in per_seed if labels is not None]
    median = float(np.median([math.inf if labels is None else labels for labels in per_seed]))
    ratio, only_this, only_random = None, 0, 0
    shared = shared_rounds(rounds, None if random is rounds else random)
    if random is not None and shared > 1:
        labels = rounds.labels[:shared]
        both = [of.scores[test.task]["accuracy"][:shared].T for of in (rounds, random)]
        owns, others = ([crossing(labels, curve, target.accuracy) for curve in of] for of in both)
        pairs = list(zip(owns, others, strict=True))
        ratio = _ratio(labels, pairs, list(zip(*both, strict=True)), test.known, level)
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
        mean_at_start=bool(curves[0].mean() >= target.accuracy - ROUNDING),
        within=rounds.labels[-1],
        begun=len(rounds) > 1,
        compared_within=rounds.labels[shared - 1] if shared > 1 else None,
        ratio=ratio,
        only_this=only_this,
        only_random=only_random,
    )


def _ratio(
    labels: Sequence[int],
    pairs: Sequence[tuple[float | None, float | None]],
    curves: Sequence[tuple[np.ndarray, np.ndarray]],
    questions: int,
    level: float,
) -> Estimate | None:
    """Of labels needed by this function and by random; None where no seed has both after the start."""
    logs, variances = [], []
    for crossed, of_seed in zip(pairs, curves, strict=True):
        own, other = crossed
        if own is None or other is None or max(own, other) <= labels[0]:
            logs.append(None)
            continue
        logs.append(math.log(own / other))
        errors = (
            _error(labels, curve, each, questions) / each for curve, each in zip(of_seed, (own, other), strict=True)
        )
        variances.append(sum(error**2 for error in errors))
    if not variances:
        return None
    return Estimate.of(logs, level, math.sqrt(sum(variances) / len(variances))).exponential()


def _error(labels: Sequence[int], curve: Float64[np.ndarray, "round"], crossed: float, questions: int) -> float:
    """Labels that rounding to a whole test question moves a crossing by, as a standard deviation."""
    after = next((place for place, each in enumerate(labels) if each >= crossed - ROUNDING), len(labels) - 1)
    if not after:
        return 0.0
    gap, rise = labels[after] - labels[after - 1], float(curve[after] - curve[after - 1])
    return gap * min(1 / math.sqrt(12), of_accuracy(questions) / max(rise, ROUNDING))


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
