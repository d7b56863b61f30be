"""The seam: what a tracker is told of a fit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

PROJECT = "kvorum"
"""The project or experiment, where the tracker's own environment variables name no other."""


@dataclass(frozen=True, kw_only=True)
class TrackedRun:
    """A fit as a tracker gets to know it."""

    name: str
    id: str
    """The same whenever the fit goes on, and no other fit's."""
    settings: Mapping[str, Any]
    folder: Path | None
    """The run directory; None where nothing of the fit is written."""
    held: int
    """Steps that were reported by earlier starts; -1 where there was none, and nothing before the first step either."""
    taken: int
    """Steps that the fit has behind it: it goes on with the next."""


@runtime_checkable
class Tracker(Protocol):
    """Where the numbers of a fit go. Whatever it raises ends the tracking and not the fit, but for `start`."""

    def start(self, run: TrackedRun) -> int:
        """Begin a tracked run, or go on with the one of the same id.

        Returns up to which step it holds that run, -1 where it is new: what comes after is told again.
        """
        ...

    def log(self, scalars: Mapping[str, float], step: int) -> None:
        """Take numbers by their names; `step` counts the optimizer's steps over the whole fit."""
        ...

    def finish(self, ok: bool) -> None:
        """The fit has come to its end, or was stopped."""
        ...


@runtime_checkable
class Batched(Protocol):
    """A tracker that takes the numbers of many steps in one request, all of them or none."""

    at_once: int
    """Numbers that a request may hold."""

    def log_steps(self, steps: Sequence[tuple[Mapping[str, float], int]]) -> None:
        """Take the numbers of steps, each as in `Tracker.log`; of a single step there may be more than `at_once`."""
        ...


def as_text(value: Any) -> str:
    """A setting in a word: lists as words, what is not set as nothing."""
    if isinstance(value, tuple | list):
        return " ".join(map(str, value))
    return "" if value is None else str(value)
