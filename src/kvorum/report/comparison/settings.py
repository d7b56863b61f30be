"""The settings in which runs differ, and what was found that may make them differ."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kvorum.run import Run
from kvorum.run.drift import MAY_CHANGE

# Where things lie, and which tasks are scored, change no number that is compared; how long was fitted does.
IGNORED = MAY_CHANGE - {"epochs"}
FOUND = (
    "base_revision",
    "prompt_template",
    "train_questions",
    "train_digest",
    "device",
    "kvorum",
    "torch",
    "transformers",
)
"""Facts of a run that a setting alone does not tell."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """One in which runs differ."""

    name: str
    found: bool
    """Whether it was found rather than set: a version, a revision, a digest."""
    values: tuple[Any, ...]
    """One a run, as in its config.yaml; None where it is not set or not known."""


def differing_settings(runs: Sequence[Run]) -> tuple[Setting, ...]:
    """What is not the same in all runs: settings in their own order, then facts."""
    configs = [run.config.as_dict() for run in runs]
    rows = [(name, False, [config[name] for config in configs]) for name in configs[0] if name not in IGNORED]
    rows += [(name, True, [run.facts.get(name) for run in runs]) for name in FOUND]
    return tuple(
        Setting(name=name, found=found, values=tuple(values))
        for name, found, values in rows
        if any(value != values[0] for value in values)
    )
