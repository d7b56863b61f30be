"""Rules of decision for a terminal, and decisions as plain values for JSON."""

from collections.abc import Iterator
from typing import Any

from rich.table import Table
from rich.text import Text

from kvorum.decisions.calibration import Calibration
from kvorum.decisions.decide import decide
from kvorum.decisions.words import SCORE_WORDS, at_least, at_most, percent, why
from kvorum.predictions import Predictions
from kvorum.uncertainty.plane import QUADRANTS


def calibration_lines(calibration: Calibration) -> Iterator[Text | Table]:
    """What was found, with what is guaranteed."""
    rule, sure = calibration.answer, f"{percent(calibration.confidence)} confidence"
    left_out = f" ({calibration.left_out} left out)" if calibration.left_out else ""
    yield Text(f"calibrated on {calibration.questions:,} questions of {calibration.task}{left_out}", style="bold")
    share = rule.answered / calibration.questions
    risk = f"{rule.wrong / rule.answered:.1%}" if rule.answered else "–"
    yield Text(
        f"answer where {SCORE_WORDS[rule.score]} is at most {rule.threshold:.4g}: {share:.1%} of these questions, "
        f"{risk} of the answers wrong"
    )
    bounds = f"at most {at_most(rule.risk_bound)} wrong"
    if rule.coverage_bound is not None:
        bounds += f", at least {at_least(rule.coverage_bound)} answered"
    yield Text(f"on other questions of this kind, with {sure}: {bounds}")
    for method, found in calibration.sets.items():
        named = "every candidate" if found.threshold is None else f"threshold {found.threshold:.4g}"
        yield Text(
            f"answer sets, {method}: hold the right answer in {percent(1 - calibration.alpha)} of cases ({named}; with "
            f"{sure} in at least {at_least(found.coverage_bound)})"
        )
    if calibration.temperature != 1.0:
        yield Text(f"temperature of the mean: {calibration.temperature:.3f}")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("score of doubt", "AURC", "excess over the ideal"):
        table.add_column(heading, justify="left" if heading.startswith("score") else "right")
    for name, area in rule.aurc.items():
        table.add_row(SCORE_WORDS[name], f"{area:.4f}", f"{rule.excess_aurc[name]:.4f}")
    yield table


def decision_dict(predictions: Predictions, calibration: Calibration) -> dict[str, Any]:
    """What is decided on the first question of predictions, as plain values."""
    decisions = decide(predictions, calibration)
    choices = predictions.choices[0]
    return {
        "answered": bool(decisions.answered[0]),
        "score": calibration.answer.score,
        "doubt": float(decisions.doubt[0]),
        "threshold": calibration.answer.threshold,
        "kind": QUADRANTS[decisions.quadrant[0]],
        "why": why(decisions, calibration, 0),
        "sets": {
            method: [choice for choice, inside in zip(choices, rows[0], strict=False) if inside]
            for method, rows in decisions.sets.items()
        },
    }
