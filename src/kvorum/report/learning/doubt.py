"""Whether doubt falls as labels come in: over the unlabelled pool, part by part, and on the first test task.

The pool changes as questions leave it, the doubtful ones first under most functions; the test task stays as it is.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from kvorum.active.config import Part
from kvorum.report.learning.chosen import weighted
from kvorum.report.learning.estimate import Estimate
from kvorum.report.learning.read import Rounds

Falls = Literal["falls", "rises", "cannot be told"]
Kind = Literal["pool", "part", "noise", "test"]
PER_LABELS = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class DoubtAt:
    """Mean uncertainty after a round's fit, in nats."""

    round: int
    labels: int
    entropy: Estimate
    mutual_information: Estimate


@dataclass(frozen=True, kw_only=True, slots=True)
class Trend:
    """How an uncertainty changes with labels."""

    slope: Estimate | None
    """Nats per 100 labels, of the least-squares line through a seed's rounds; None with one round only."""

    @property
    def verdict(self) -> Falls:
        """By whether the interval of the slope lies wholly below zero, wholly above, or neither."""
        side = self.slope.side_of(0.0) if self.slope else 0
        return "falls" if side < 0 else "rises" if side > 0 else "cannot be told"


@dataclass(frozen=True, kw_only=True, slots=True)
class DoubtCurve:
    """The doubt about some questions, round by round."""

    name: str
    kind: Kind
    """`pool`: all that is unlabelled; `part` and `noise`: one part of it; `test`: the first test task."""
    points: tuple[DoubtAt, ...]
    entropy: Trend
    mutual_information: Trend


def doubt_curves(rounds: Rounds, parts: Mapping[str, Part], test: str, level: float) -> tuple[DoubtCurve, ...]:
    """Of the whole pool, of each of its parts where it has more than one, and of the first test task."""
    kinds: dict[str, Kind] = {name: "noise" if part.labels == "random" else "part" for name, part in parts.items()}

    def of_pool(part: str | None) -> Callable[[int, int, str], float | None]:
        return lambda number, seed, key: weighted(
            (state for state in rounds.records[number][seed].pool if part in (None, state.part)), key
        )

    def of_test(number: int, seed: int, key: str) -> float | None:
        return float(rounds.scores[test][key][number, seed])

    several = kinds.items() if len(parts) > 1 else ()
    return (
        _curve("whole pool", "pool", rounds, of_pool(None), level),
        *(_curve(name, kind, rounds, of_pool(name), level) for name, kind in several),
        _curve(test, "test", rounds, of_test, level),
    )


def _curve(
    name: str, kind: Kind, rounds: Rounds, value: Callable[[int, int, str], float | None], level: float
) -> DoubtCurve:
    seeds = range(len(rounds.records[0]))
    found = {
        key: [[value(number, seed, key) for seed in seeds] for number in range(len(rounds))]
        for key in ("entropy", "mutual_information")
    }
    points = tuple(
        DoubtAt(
            round=number,
            labels=labels,
            entropy=Estimate.of(found["entropy"][number]),
            mutual_information=Estimate.of(found["mutual_information"][number]),
        )
        for number, labels in enumerate(rounds.labels)
    )
    trends = {key: _trend(rounds.labels, values, level) for key, values in found.items()}
    return DoubtCurve(name=name, kind=kind, points=points, **trends)


def _trend(labels: tuple[int, ...], values: list[list[float | None]], level: float) -> Trend:
    """`values` by round and seed."""
    slopes = []
    for of_seed in zip(*values, strict=True):
        known = [(at, value) for at, value in zip(labels, of_seed, strict=True) if value is not None]
        if len({at for at, _ in known}) < 2:
            slopes.append(None)
            continue
        at, value = np.array(known).T
        slopes.append(float(((at - at.mean()) * value).sum() / ((at - at.mean()) ** 2).sum()) * PER_LABELS)
    slope = Estimate.of(slopes, level)
    return Trend(slope=slope if slope.seeds else None)
