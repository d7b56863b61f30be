"""Progress that experiment trackers are told of, too."""

import logging
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from kvorum.errors import KvorumError
from kvorum.posterior.progress import Progress
from kvorum.run import Run
from kvorum.tracking import State, TrackedRun, Tracker, of_numbers, of_step, tracker

if TYPE_CHECKING:
    from kvorum.posterior.job import Job

FOLDER = "tracking"
FACTS = (
    "kvorum",
    "torch",
    "transformers",
    "device",
    "base_revision",
    "base_parameters",
    "parameters_per_member",
    "train_questions",
    "steps_per_epoch",
)
"""Facts of a run that are reported beside its settings."""
PLACES = frozenset({"out", "track"})
"""Settings that say where numbers go, and nothing of the fit."""

log = logging.getLogger(__name__)


def tracked(progress: Progress, job: "Job", run: Run | None) -> Progress:
    """The same progress, told to the trackers that the configuration names as well."""
    names = job.config.track
    return Tracked(progress, {name: tracker(name) for name in names}, run) if names else progress


class Tracked:
    """Tells trackers of every step and every score, each once.

    Whatever the run directory holds and a tracker has not been told is told when the fit goes on: so a tracker that is
    named later, or that has failed for a while, still gets all. A tracker that cannot be started is a mistake to be
    mended before anything is computed; one that fails later is left out with a warning, and the fit goes on.
    """

    def __init__(self, inner: Progress, trackers: Mapping[str, Tracker], run: Run | None) -> None:
        self.inner = inner
        self.trackers = dict(trackers)
        self.run = run
        self.states: dict[str, State] = {}
        """Of the trackers that are started and have not failed."""

    def begin(self, job: "Job", done: int, steps: int) -> None:
        """Start every tracker, and tell it what it does not hold yet.

        Raises `KvorumError` for one that cannot be started.
        """
        self.inner.begin(job, done, steps)
        self.steps_per_epoch = job.steps_per_epoch
        facts = self.run.facts if self.run is not None else job.facts()
        settings = {name: value for name, value in job.config.as_dict().items() if name not in PLACES}
        settings |= {name: facts.get(name) for name in FACTS}
        folder = self.run.path / FOLDER if self.run is not None else None
        states = {name: State.at(folder / f"{name}.json" if folder else None) for name in self.trackers}
        for name, state in states.items():
            try:
                held = self.trackers[name].start(
                    TrackedRun(
                        name=job.out.name if self.run is not None else job.task.name,
                        id=state.id,
                        settings=settings,
                        folder=self.run.path if self.run is not None else None,
                        held=state.steps,
                        taken=done * job.steps_per_epoch + steps,
                    )
                )
            except Exception as error:  # whatever it raises
                self._finish(ok=False)
                raise KvorumError(
                    f"{name} cannot be started: {_said(error)}; mend that, or leave it out of track"
                ) from error
            state.steps = held
            state.scores = {(epoch, task) for epoch, task in state.scores if epoch * job.steps_per_epoch <= held}
            self.states[name] = state
        self._tell(self._catch_up)

    def steps(self, lines: Sequence[dict[str, Any]]) -> None:
        """Tell of every member's loss, penalty and gradient."""
        self.inner.steps(lines)
        self._tell(lambda one, state: self._steps_to(one, state, lines))

    def scored(self, epoch: int, task: str, done: int, total: int) -> None:
        """Nothing that a tracker wants to know."""
        self.inner.scored(epoch, task, done, total)

    def numbers(self, epoch: int, task: str, numbers: dict[str, Any]) -> None:
        """Tell of a task's accuracy, calibration and uncertainty."""
        self.inner.numbers(epoch, task, numbers)
        self._tell(lambda one, state: self._score_to(one, state, epoch, task, numbers))

    def __enter__(self) -> "Tracked":
        self.inner.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.inner.__exit__(kind, error, trace)
        self._finish(ok=kind is None)

    def _catch_up(self, one: Tracker, state: State) -> None:
        """Tell what lies in the run directory and was not told."""
        if self.run is None:
            return
        self._steps_to(one, state, self.run.log)
        for epoch, task in sorted(self.run.scores()):
            if (epoch, task) not in state.scores:
                self._score_to(one, state, epoch, task, self.run.numbers(epoch, task))

    def _steps_to(self, one: Tracker, state: State, lines: Sequence[Mapping[str, Any]]) -> None:
        for line in lines:
            step = (line["epoch"] - 1) * self.steps_per_epoch + line["step"] + 1
            if step > state.steps:
                one.log(of_step(line), step)
                state.steps = step
        state.save()

    def _score_to(self, one: Tracker, state: State, epoch: int, task: str, numbers: Mapping[str, Any]) -> None:
        separation = self.run.separation(epoch, task) if self.run is not None else None
        step = epoch * self.steps_per_epoch
        one.log(of_numbers(task, numbers, separation), step)
        state.scores.add((epoch, task))
        state.steps = max(state.steps, step)
        state.save()

    def _tell(self, what: Callable[[Tracker, State], None]) -> None:
        """Tell every tracker that has not failed; one that fails now is left out from here on."""
        for name, state in list(self.states.items()):
            try:
                what(self.trackers[name], state)
            except Exception as error:  # noqa: BLE001 - a network, a full disk: nothing of it may end the fit
                del self.states[name]
                log.warning(
                    "%s failed, and is told nothing more (%s); the fit goes on, and the same command tells it the rest",
                    name,
                    _said(error),
                )
                self._end(name, ok=False)

    def _finish(self, *, ok: bool) -> None:
        for name in list(self.states):
            del self.states[name]
            self._end(name, ok=ok)

    def _end(self, name: str, *, ok: bool) -> None:
        try:
            self.trackers[name].finish(ok)
        except Exception as error:  # noqa: BLE001 - as above
            log.warning("%s could not be finished: %s", name, _said(error))


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
