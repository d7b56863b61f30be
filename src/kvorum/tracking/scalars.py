"""The numbers that go to a tracker, by their names there."""

from collections.abc import Mapping
from typing import Any

PER_MEMBER = ("loss", "nll", "penalty", "gradient_norm")
ALONE = ("lr", "tokens")

OF_A_TASK = {
    "accuracy": ("ensemble", "accuracy", "value"),
    "nll": ("ensemble", "nll", "value"),
    "ece": ("ensemble", "ece", "value"),
    "brier": ("ensemble", "brier", "value"),
    "predictive_entropy": ("predictive_entropy", "all", "mean", "value"),
    "expected_entropy": ("expected_entropy", "all", "mean", "value"),
    "mutual_information": ("mutual_information", "all", "mean", "value"),
    "wrong_auroc/predictive_entropy": ("wrong_auroc", "predictive_entropy", "value"),
    "wrong_auroc/mutual_information": ("wrong_auroc", "mutual_information", "value"),
}
"""The name behind a task's own, and where the number lies in `uncertainty.summarize`."""


def of_step(line: Mapping[str, Any]) -> dict[str, float]:
    """A line of the log; a member that has diverged has no numbers, and is left out."""
    found = {
        f"{name}/member-{member}": float(value)
        for name in PER_MEMBER
        for member, value in enumerate(line.get(name, ()))
        if value is not None
    }
    return found | {name: float(line[name]) for name in ALONE if line.get(name) is not None}


def of_numbers(task: str, numbers: Mapping[str, Any], separation: Mapping[str, Any] | None = None) -> dict[str, float]:
    """A task's numbers after an epoch; what is not defined is left out.

    `separation` is that of `Run.separation`: how well uncertainty tells this task from the fitted one.
    """
    found = {f"{task}/{name}": _at(numbers, path) for name, path in OF_A_TASK.items()}
    for name, interval in (separation or {}).items():
        found[f"{task}/separation_auroc/{name}"] = interval["value"]
    return {name: float(value) for name, value in found.items() if value is not None}


def _at(numbers: Mapping[str, Any], path: tuple[str, ...]) -> float | None:
    value: Any = numbers
    for name in path:
        value = value[name]
    return value
