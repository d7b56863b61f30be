"""From an ensemble's answers to held-out questions to rules of decision."""

import json
import logging
import math
from collections.abc import Sequence
from importlib.metadata import version

import numpy as np
from jaxtyping import Float64

from kvorum.decisions.calibration import SAME, AnswerRule, Calibration, SetRule
from kvorum.decisions.decide import doubt_at
from kvorum.errors import KvorumError, nearest
from kvorum.predictions import Predictions
from kvorum.uncertainty.conformal import METHODS, conformal_rank, conformal_threshold, coverage_bound
from kvorum.uncertainty.doubt import DOUBTS, Doubt
from kvorum.uncertainty.selective import (
    aurc,
    resampled_ideal_aurc,
    threshold_for_coverage,
    threshold_for_risk,
)
from kvorum.uncertainty.temperature import HIGHEST, LOWEST, at_temperature, fit_temperature

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
    fitted_ids: Sequence[str] = (),
) -> Calibration:
    """Rules of decision from answers to questions that the members were not fitted on.

    One of `target_risk` (answer as much as keeps the share of wrong answers at or below it, with the confidence) and
    `coverage` (answer this share). `alpha` is the share of conformal answer sets that may miss the right answer;
    `temperature` fits one to the mean. Questions without a known answer are left out, and those of `fitted_ids`, which
    are the ids of questions that the members were fitted on.

    Raises `KvorumError` for numbers out of range, for questions that were fitted on, and where no threshold keeps the
    risk.
    """
    check_asked(target_risk, coverage, confidence, alpha)
    if score not in DOUBTS:
        raise KvorumError(f"'{score}' is no score of doubt{nearest(score, DOUBTS)}")
    fitted = set(fitted_ids) & set(predictions.ids)
    if (there := predictions.facts.get("trained_on_questions", 0)) > len(fitted):
        raise KvorumError(
            f"{there} of {len(predictions)} questions are among those that the members were fitted on, where they are "
            "right more often than elsewhere; calibrate on others"
        )
    fresh = np.array([name not in fitted for name in predictions.ids], dtype=bool)
    known = predictions.select(examples=predictions.labelled & fresh)
    if not len(known):
        raise KvorumError("no question is left that has a known answer, so there is nothing to calibrate on")
    heat = fit_temperature(known.mean, known.mean_rest, known.answers) if temperature else 1.0
    if heat <= LOWEST * 1.01 or heat >= HIGHEST / 1.01:
        log.warning(
            "the temperature is at its limit, %.3g: the probabilities tell next to nothing of these answers", heat
        )
    mean, _ = at_temperature(known.mean, known.mean_rest, heat)
    if conformal_rank(len(known), alpha) > len(known):
        log.warning(
            "%d questions are too few for answer sets at alpha %g: all candidates are named; at least %d are needed",
            len(known),
            alpha,
            math.ceil(1 / alpha) - 1,
        )
    return Calibration(
        task=str(predictions.facts.get("task", "")),
        split=str(predictions.facts.get("split", "")),
        questions=len(known),
        questions_sha256=known.questions_digest(),
        left_out=len(predictions) - len(known),
        fitted_ids=tuple(sorted(fitted)),
        confidence=float(confidence),
        temperature=heat,
        answer=_answer_rule(known, mean, score, target_risk, coverage, confidence),
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


def _answer_rule(
    known: Predictions,
    mean: Float64[np.ndarray, "example candidate"],
    score: Doubt,
    target_risk: float | None,
    coverage: float | None,
    confidence: float,
) -> AnswerRule:
    wrong = ~known.correct
    doubts: dict[Doubt, np.ndarray] = {name: doubt_at(name, known, mean) for name in DOUBTS}
    if target_risk is not None:
        asked, target = "target_risk", target_risk
        found = threshold_for_risk(doubts[score], wrong, target, confidence=confidence)
    else:
        assert coverage is not None
        asked, target = "coverage", coverage
        found = threshold_for_coverage(doubts[score], wrong, target, confidence=confidence)
    areas: dict[Doubt, float] = {name: aurc(values, wrong) for name, values in doubts.items()}
    ideal = float(resampled_ideal_aurc(wrong, np.ones((1, len(known))))[0])
    return AnswerRule(
        asked=asked,
        target=float(target),
        score=score,
        threshold=found.value,
        answered=found.answered,
        wrong=found.wrong,
        risk_bound=found.risk_bound,
        coverage_bound=found.coverage_bound,
        aurc=areas,
        # The ideal score is as good as any, but for rounding.
        excess_aurc={name: max(0.0, area - ideal) for name, area in areas.items()},
    )


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
