"""How well the members answer, label by label: each function's learning curve, and how far it lies from random's."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from kvorum.report.learning.estimate import Estimate
from kvorum.report.learning.read import Rounds


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """A round on a test task; NLL in nats. Differences are to random at the same labels, seed by seed."""

    round: int
    labels: int
    accuracy: Estimate
    nll: Estimate
    accuracy_difference: Estimate | None
    """None for random itself, and where random has not come as far."""
    nll_difference: Estimate | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """A function on a test task."""

    task: str
    points: tuple[Point, ...]
    """Round by round, from the start on."""
    compared: int
    """Rounds after the start that random has as well."""
    accuracy_area: Estimate | None
    """Difference of the areas under the learning curves: the mean of `accuracy_difference` over those rounds."""
    nll_area: Estimate | None


def curve_of(rounds: Rounds, random: Rounds | None, task: str, level: float) -> Curve:
    """A function's curve on a test task; `level` is that of the intervals of differences."""
    own = rounds.scores[task]
    beside = None if random is None or random is rounds else random
    shared = shared_rounds(rounds, beside)
    differences: dict[str, Float64[np.ndarray, "round seed"]] = {
        name: own[name][:shared] - beside.scores[task][name][:shared] if beside else np.zeros((0, 0))
        for name in ("accuracy", "nll")
    }

    def at(name: str, number: int) -> Estimate | None:
        return Estimate.of(differences[name][number], level) if number < shared else None

    def area(name: str) -> Estimate | None:
        return Estimate.of(differences[name][1:].mean(axis=0), level) if shared > 1 else None

    points = tuple(
        Point(
            round=number,
            labels=labels,
            accuracy=Estimate.of(own["accuracy"][number]),
            nll=Estimate.of(own["nll"][number]),
            accuracy_difference=at("accuracy", number),
            nll_difference=at("nll", number),
        )
        for number, labels in enumerate(rounds.labels)
    )
    return Curve(
        task=task,
        points=points,
        compared=max(0, shared - 1),
        accuracy_area=area("accuracy"),
        nll_area=area("nll"),
    )


def shared_rounds(rounds: Rounds, random: Rounds | None) -> int:
    """How many rounds, the start among them, both have at the same labels."""
    if random is None:
        return 0
    same = [one == other for one, other in zip(rounds.labels, random.labels, strict=False)]
    return same.index(False) if False in same else len(same)
