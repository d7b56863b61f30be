"""What the rules say of new questions: answer or not, which candidates together, and why."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from kvorum.decisions.calibration import Calibration
from kvorum.predictions import Predictions
from kvorum.uncertainty.conformal import METHODS, ConformalMethod, conformal_sets
from kvorum.uncertainty.doubt import doubt
from kvorum.uncertainty.plane import Cuts, quadrant_of
from kvorum.uncertainty.temperature import at_temperature


@dataclass(frozen=True, kw_only=True, eq=False)
class Decisions:
    """Of every question whether it is answered, and what stands beside the answer."""

    answered: Bool[np.ndarray, "example"]
    doubt: Float64[np.ndarray, "example"]
    """The score that decides; higher = more uncertain."""
    predicted: Int64[np.ndarray, "example"]
    """The answer, also of those that are withheld."""
    mean: Float64[np.ndarray, "example candidate"]
    """The ensemble's probabilities at the calibration's temperature,"""
    rest: Float64[np.ndarray, "example"]
    """and its rest."""
    sets: dict[ConformalMethod, Bool[np.ndarray, "example candidate"]]
    quadrant: Int64[np.ndarray, "example"]
    """Place in `uncertainty.plane.QUADRANTS`, cut at the medians of the calibration questions."""


def decide(predictions: Predictions, calibration: Calibration) -> Decisions:
    """Decide on every question. Raises `KvorumError` for answers of another ensemble than the one calibrated."""
    calibration.check_fits(predictions)
    mean, rest = at_temperature(predictions.mean, predictions.mean_rest, calibration.temperature)
    score = doubt_at(calibration.answer.score, predictions, mean)
    counts = np.array([len(choices) for choices in predictions.choices], dtype=np.int64)
    cuts = Cuts(entropy=calibration.entropy_cut, mutual_information=calibration.mi_cut)
    return Decisions(
        answered=score <= calibration.answer.threshold,
        doubt=score,
        predicted=predictions.predicted,
        mean=mean,
        rest=rest,
        sets={
            method: conformal_sets(method, mean, counts, _or_all(calibration.sets[method].threshold))
            for method in METHODS
        },
        quadrant=quadrant_of(predictions.predictive_entropy, predictions.mutual_information, cuts),
    )


def doubt_at(
    name: str, predictions: Predictions, mean: Float64[np.ndarray, "example candidate"]
) -> Float64[np.ndarray, "example"]:
    """A score of doubt where the mean's probabilities are at a temperature; entropies are the members' own."""
    if name == "one_minus_top":
        return 1 - mean.max(axis=1)
    return doubt(name, predictions.probs, predictions.rest)


def _or_all(threshold: float | None) -> float:
    return np.inf if threshold is None else threshold
