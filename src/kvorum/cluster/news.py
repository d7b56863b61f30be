"""What workers tell the process that asked for the work, and whether it asks them to stop."""

import collections
import dataclasses
import logging
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kvorum.posterior.progress import Silent
from kvorum.posterior.stop import StopRequest

if TYPE_CHECKING:
    from kvorum.posterior.job import Job

EVERY = 0.5
"""Seconds between two tellings of a worker."""
MOST_LINES = 1000
"""Lines of a log that wait to be told."""


@dataclasses.dataclass
class Said:
    """What a worker says of its work: what is new since it last spoke."""

    work: str
    state: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Names and values for the view: epoch, step, steps, rate, loss, doing, saved."""
    lines: list[tuple[int, str]] = dataclasses.field(default_factory=list)
    """Lines of its log, with their levels."""


class News:
    """Between workers and who asked for the work; an actor of Ray beside the latter, so that it ends with it."""

    def __init__(self) -> None:
        self.waiting: collections.deque[Said] = collections.deque()
        self.stop_by: int | None = None

    def tell(self, said: Said) -> int | None:
        """Take what a worker says; returns the signal by which it is asked to stop, if it is."""
        self.waiting.append(said)
        return self.stop_by

    def take(self) -> list[Said]:
        """All that was said since."""
        found = list(self.waiting)
        self.waiting.clear()
        return found

    def stop(self, number: int) -> None:
        """Ask all workers to stop."""
        self.stop_by = number


class Teller(Silent, logging.Handler):
    """A worker's progress and log, told in parts; and its ear for being asked to stop."""

    def __init__(self, work: str, tell: Any, stop: StopRequest) -> None:
        logging.Handler.__init__(self, level=logging.INFO)
        self.said = Said(work)
        self.part = ""
        """Of which part of the work is told what is under way."""
        self._tell = tell
        self._stop = stop
        self._at = 0.0
        self._steps_at = time.monotonic()

    def begin(self, job: "Job", done: int, steps: int) -> None:
        """Say how much there is to do, and what is done."""
        each = job.steps_per_epoch
        self._say(True, epoch=done, epochs=job.config.epochs, step=done * each + steps, steps=job.config.epochs * each)
        self._each = each

    def steps(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Say which step it is, and what it was like."""
        now, last = time.monotonic(), lines[-1]
        rate = sum(line["tokens"] for line in lines) / max(1e-9, now - self._steps_at)
        self._steps_at = now
        step = (last["epoch"] - 1) * self._each + last["step"] + 1
        self._say(doing="fitting", epoch=last["epoch"], step=step, rate=rate, loss=tuple(last["loss"]))

    def scored(self, epoch: int, task: str, done: int, total: int) -> None:
        """Say how far scoring is."""
        self._steps_at = time.monotonic()
        self._say(doing=f"scoring {task} {done}/{total}")

    def point(self, point: object) -> None:
        """Say that all is saved up to a point."""
        self._say(True, saved=str(point))

    def doing(self, what: str, *, now: bool = True) -> None:
        """Say what is under way, at once or when it is time to."""
        self._say(now, doing=what)

    def emit(self, record: logging.LogRecord) -> None:
        """Tell a line of the log."""
        if len(self.said.lines) < MOST_LINES:
            self.said.lines.append((record.levelno, record.getMessage()))
        elif len(self.said.lines) == MOST_LINES:
            self.said.lines.append((logging.WARNING, "more lines of the log are left out"))
        self._say()

    def flush(self) -> None:
        """Tell what has not been told."""
        if self.said.state or self.said.lines:
            self._say(True)

    def _say(self, now: bool = False, **state: Any) -> None:
        if self.part and "doing" in state:
            state["doing"] = f"{self.part}: {state['doing']}"
        self.said.state |= state
        if not now and time.monotonic() - self._at < EVERY:
            return
        said, self.said = self.said, Said(self.said.work)
        asked = self._tell(said)
        self._at = time.monotonic()
        if asked is not None:
            self._stop.asked = asked
