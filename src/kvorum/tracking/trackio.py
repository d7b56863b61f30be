"""Trackio: a run in its local store, or where TRACKIO_SPACE_ID or TRACKIO_SERVER_URL say."""

import contextlib
import importlib
import sys
from collections.abc import Mapping
from typing import Any

from kvorum.tracking.tracker import PROJECT, TrackedRun


class Trackio:
    """Reports to Trackio."""

    def __init__(self) -> None:
        self.trackio: Any = None
        self.run: Any = None

    def start(self, run: TrackedRun) -> int:
        """Go on with the run of the same name, which the id makes the only one."""
        self.trackio = importlib.import_module("trackio")
        with _told_on_stderr():
            self.run = self.trackio.init(
                project=PROJECT,
                name=f"{run.name}-{run.id}",
                resume="allow",
                config={name: list(v) if isinstance(v, tuple) else v for name, v in run.settings.items()},
            )
        return run.held

    def log(self, scalars: Mapping[str, float], step: int) -> None:
        """Queue them; Trackio writes or sends them by itself."""
        self.run.log(dict(scalars), step=step)

    def finish(self, ok: bool) -> None:
        """Wait until all is written."""
        with _told_on_stderr():
            self.trackio.finish()


def _told_on_stderr() -> contextlib.redirect_stdout:
    """Trackio prints; what a command prints is its result, and none of that."""
    return contextlib.redirect_stdout(sys.stderr)
