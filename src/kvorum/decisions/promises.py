"""What a calibration's rules do on questions whose answers are known: whether what was promised holds."""

from typing import Any

import numpy as np
from jaxtyping import Float64

from kvorum.decisions.calibrate import calibrate
from kvorum.decisions.calibration import Calibration
from kvorum.decisions.decide import decide
from kvorum.errors import KvorumError
from kvorum.predictions import Predictions
from kvorum.uncertainty.bootstrap import Interval, bootstrap, resampled_means
from kvorum.uncertainty.conformal import METHODS

SPLITS = 20


def outcome(predictions: Predictions, calibration: Calibration, *, resamples: int = 1000) -> dict[str, Any]:
    """Of questions with a known answer: the share answered, the risk among those, and each kind of answer set's
    coverage and mean size, with 95% intervals over questions.

    Raises `KvorumError` for answers of another ensemble than the one calibrated.
    """
    known = predictions.select(examples=predictions.labelled)
    decisions = decide(known, calibration)
    rows = np.arange(len(known))
    columns = [decisions.answered]
    for method in METHODS:
        columns += [decisions.sets[method][rows, known.answers], decisions.sets[method].sum(axis=1)]
    values = np.stack(columns, axis=1).astype(np.float64)
    wrong = ~known.correct[decisions.answered, None]

    def statistics(counts: Float64[np.ndarray, "resample example"]) -> dict[str, Any]:
        means = resampled_means(values, counts)
        found = {"answered": means[:, 0]}
        found["risk"] = resampled_means(wrong.astype(np.float64), counts[:, decisions.answered])[:, 0]
        for place, method in enumerate(METHODS):
            found[f"{method}/coverage"], found[f"{method}/size"] = means[:, 1 + 2 * place], means[:, 2 + 2 * place]
        return found

    return _named(bootstrap(statistics, [len(known)], resamples=resamples), questions=len(known), splits=None)


def on_halves(
    predictions: Predictions, calibration: Calibration, *, splits: int = SPLITS, seed: int = 0
) -> dict[str, Any]:
    """The same of the calibration questions themselves: what rules from a random half do on the other half.

    As means over the splits, with the range in which 95% of them lie. `reached` is in how many splits half of the
    questions were enough for the risk that was asked; where these are fewer than half, nothing is said of risk and
    share, since the halves that are enough are the lucky ones.
    """
    known = predictions.select(examples=predictions.labelled)
    found: dict[str, list[float]] = {}
    reached = 0
    for half, other in halves(len(known), splits, seed):
        part, rest = known.select(examples=half), known.select(examples=other)
        try:
            rules, enough = again(part, calibration), True
        except KvorumError:
            rules, enough = again(part, calibration, answering_all=True), False
        reached += enough
        one = _flat(outcome(rest, rules, resamples=1)) | ({} if enough else dict.fromkeys(ASKED, np.nan))
        for name, value in one.items():
            found.setdefault(name, []).append(value)
    ranges = {name: _range(np.array(values)) for name, values in found.items()}
    if reached < splits / 2:
        ranges |= {name: Interval(value=None, low=None, high=None) for name in ASKED}
    return _named(ranges, len(known), splits) | {"reached": reached}


ASKED = ("answered", "risk")


def halves(questions: int, splits: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Random splits of so many questions in two."""
    orders = [np.random.default_rng((seed, split)).permutation(questions) for split in range(splits)]
    return [(order[: questions // 2], order[questions // 2 :]) for order in orders]


def again(predictions: Predictions, calibration: Calibration, *, answering_all: bool = False) -> Calibration:
    """The same calibration on other questions; `answering_all` leaves the risk that was asked out."""
    rule = calibration.answer
    risk = rule.asked == "target_risk" and not answering_all
    return calibrate(
        predictions,
        target_risk=rule.target if risk else None,
        coverage=None if risk else (1.0 if answering_all else rule.target),
        score=rule.score,
        confidence=calibration.confidence,
        alpha=calibration.alpha,
        temperature=calibration.temperature != 1.0,
    )


def _flat(found: dict[str, Any]) -> dict[str, float]:
    values = {name: found[name] for name in ASKED}
    values |= {f"{method}/{what}": found["sets"][method][what] for method in METHODS for what in ("coverage", "size")}
    return {name: np.nan if one["value"] is None else one["value"] for name, one in values.items()}


def _range(values: Float64[np.ndarray, "split"]) -> Interval:
    defined = values[~np.isnan(values)]
    if not len(defined):
        return Interval(value=None, low=None, high=None)
    low, high = np.quantile(defined, [0.025, 0.975])
    return Interval(value=float(defined.mean()), low=float(low), high=float(high))


def _named(found: dict[str, Interval], questions: int, splits: int | None) -> dict[str, Any]:
    return {
        "questions": questions,
        "halves": splits,
        "answered": found["answered"],
        "risk": found["risk"],
        "sets": {
            method: {"coverage": found[f"{method}/coverage"], "size": found[f"{method}/size"]} for method in METHODS
        },
    }
