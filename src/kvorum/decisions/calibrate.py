"""From an ensemble's answers to held-out questions to rules of decision."""

import json
import logging
import math
from importlib.metadata import version

import numpy as np

from kvorum.decisions.calibration import SAME, AnswerRule, Calibration, SetRule
from kvorum.errors import KvorumError
from kvorum.predictions import Predictions
from kvorum.uncertainty.conformal import METHODS, conformal_threshold, coverage_bound
from kvorum.uncertainty.doubt import DOUBTS, Doubt, doubt
from kvorum.uncertainty.selective import (
    Threshold,
    aurc,
    resampled_ideal_aurc,
    threshold_for_coverage,
    threshold_for_risk,
)
from kvorum.uncertainty.temperature import at_temperature, fit_temperature

log = logging.getLogger(__name__)


def calibrate(
    predictions: Predictions,
    *,
    target_risk: float | None = None,
    coverage: float | None = None,
    score: Doubt = "one_minus_top",
    confidence: float = 0.95,
    alpha: float = 0.1,
    temperature: bool = False,
) -> Calibration:
    """Rules of decision from answers to questions that the members were not fitted on.

    One of `target_risk` (answer as much as keeps the share of wrong answers at or below it, with the confidence) and
    `coverage` (answer this share). `alpha` is the share of conformal answer sets that may miss the right answer;
    `temperature` fits one to the mean. Questions without a known answer are left out.

    Raises `KvorumError` for numbers out of range, for questions that were fitted on, and where no threshold keeps the
    risk.
    """
    check_asked(target_risk, coverage, confidence, alpha)
    if fitted := predictions.facts.get("trained_on_questions", 0):
        raise KvorumError(
            f"{fitted} of {len(predictions)} questions are among those that the members were fitted on, where they are "
            "right more often than elsewhere; calibrate on others"
        )
    known = predictions.select(examples=predictions.labelled)
    if not len(known):
        raise KvorumError("no question has a known answer, so there is nothing to calibrate on")
    heat = fit_temperature(known.mean, known.mean_rest, known.answers) if temperature else 1.0
    mean, _ = at_temperature(known.mean, known.mean_rest, heat)
    doubts = {name: doubt(name, known.probs, known.rest) for name in DOUBTS}
    doubts["one_minus_top"] = 1 - mean.max(axis=1)
    wrong = ~known.correct
    if target_risk is not None:
        threshold = threshold_for_risk(doubts[score], wrong, target_risk, confidence=confidence)
    else:
        threshold = threshold_for_coverage(doubts[score], wrong, coverage or 0.0, confidence=confidence)
    if math.ceil((len(known) + 1) * (1 - alpha)) > len(known):
        log.warning(
            "%d questions are too few for answer sets at alpha %g: all candidates are named; at least %d are needed",
            len(known),
            alpha,
            math.ceil(1 / alpha) - 1,
        )
    areas = {name: aurc(values, wrong) for name, values in doubts.items()}
    ideal = float(resampled_ideal_aurc(wrong, np.ones((1, len(known))))[0])
    asked, target = ("target_risk", target_risk) if target_risk is not None else ("coverage", coverage)
    return Calibration(
        task=str(predictions.facts.get("task", "")),
        split=str(predictions.facts.get("split", "")),
        questions=len(known),
        questions_sha256=known.questions_digest(),
        left_out=len(predictions) - len(known),
        confidence=float(confidence),
        temperature=heat,
        answer=AnswerRule(
            asked=asked,
            target=float(target or 0.0),
            score=score,
            **_known_of(threshold),
            aurc=areas,
            excess_aurc={name: max(0.0, area - ideal) for name, area in areas.items()},
        ),
        alpha=float(alpha),
        sets={
            method: SetRule(
                threshold=_finite(conformal_threshold(method, mean, known.answers, alpha)),
                coverage_bound=coverage_bound(len(known), alpha, confidence),
            )
            for method in METHODS
        },
        entropy_cut=float(np.median(known.predictive_entropy)),
        mi_cut=float(np.median(known.mutual_information)),
        # As JSON has them: the same now as when they are read again.
        facts=json.loads(json.dumps({name: predictions.facts[name] for name in SAME if name in predictions.facts})),
        kvorum=version("kvorum"),
    )


def _known_of(threshold: Threshold) -> dict[str, float | int | None]:
    return {
        "threshold": threshold.value,
        "answered": threshold.answered,
        "wrong": threshold.wrong,
        "risk_bound": threshold.risk_bound,
        "coverage_bound": threshold.coverage_bound,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def check_asked(target_risk: float | None, coverage: float | None, confidence: float, alpha: float) -> None:
    """Raise `KvorumError` for what cannot be asked of `calibrate`."""
    if (target_risk is None) == (coverage is None):
        raise KvorumError("name one of target_risk (such as 0.1) and coverage (such as 0.8)")
    for name, value, least in (
        ("target_risk", target_risk, "above 0 and below 1"),
        ("confidence", confidence, "above 0 and below 1"),
        ("alpha", alpha, "above 0 and below 1"),
    ):
        if value is not None and not 0 < value < 1:
            raise KvorumError(f"{name} is {value}; it must be {least}")
    if coverage is not None and not 0 < coverage <= 1:
        raise KvorumError(f"coverage is {coverage}; it must be above 0 and at most 1")
