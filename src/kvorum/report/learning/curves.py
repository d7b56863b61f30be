"""How well the members answer, label by label: each function's learning curve, and how far it lies from random's."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from kvorum.report.learning.estimate import LEVEL, Estimate, of_accuracy
from kvorum.report.learning.read import Rounds, Test


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """A round on a test task; NLL in nats. Differences are to random at the same labels, seed by seed."""

    round: int
    labels: int
    accuracy: Estimate
    nll: Estimate
    accuracy_difference: Estimate | None
    """None for random itself, where random has not come as far, and where either has done no round."""
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


def curve_of(rounds: Rounds, random: Rounds | None, test: Test, level: float) -> Curve:
    """A function's curve on a test task; `level` is that of the intervals of differences."""
    own = rounds.scores[test.task]
    beside = None if random is None or random is rounds else random
    shared = shared_rounds(rounds, beside)
    differences: dict[str, Float64[np.ndarray, "round seed"]] = {
        name: own[name][:shared] - beside.scores[test.task][name][:shared] if beside else np.zeros((0, 0))
        for name in ("accuracy", "nll")
    }

    one = of_accuracy(test.known)
    # Of a difference of two; NLL is no multiple of anything.
    floors = {"accuracy": math.sqrt(2) * one, "nll": 0.0}

    def at(name: str, number: int) -> Estimate | None:
        if shared < 2 or number >= shared:
            return None
        # The start is the same predictions, and its difference is nothing without any error.
        return Estimate.of(differences[name][number], level, floors[name] if number else 0.0)

    def area(name: str) -> Estimate | None:
        if shared < 2:
            return None
        return Estimate.of(differences[name][1:].mean(axis=0), level, floors[name] / math.sqrt(shared - 1))

    points = tuple(
        Point(
            round=number,
            labels=labels,
            accuracy=Estimate.of(own["accuracy"][number], LEVEL, one),
            nll=Estimate.of(own["nll"][number]),
            accuracy_difference=at("accuracy", number),
            nll_difference=at("nll", number),
        )
        for number, labels in enumerate(rounds.labels)
    )
    return Curve(
        task=test.task,
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
