"""Progress that experiment trackers are told of, too."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from kvorum.errors import KvorumError
from kvorum.posterior.progress import Progress
from kvorum.run import Run
from kvorum.tracking import Batched, State, TrackedRun, Tracker, of_numbers, of_step, tracker

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
        self.places = Places(0)

    def begin(self, job: "Job", done: int, steps: int) -> None:
        """Start every tracker, and tell it what it does not hold yet.

        Raises `KvorumError` for one that cannot be started.
        """
        self.inner.begin(job, done, steps)
        self.places = Places(job.steps_per_epoch)
        for line in self.run.log if self.run is not None else ():
            self.places.of(line)
        facts = self.run.facts if self.run is not None else job.facts()
        settings = {name: value for name, value in job.config.as_dict().items() if name not in PLACES}
        settings |= {name: facts.get(name) for name in FACTS}
        folder = self.run.path / FOLDER if self.run is not None else None
        states = {name: State.at(folder / f"{name}.json" if folder else None) for name in self.trackers}
        for name, state in states.items():
            try:
                state.save()  # so that what a start has made is found again even where it does not come to its end
                state.steps = self.trackers[name].start(
                    TrackedRun(
                        name=job.out.name if self.run is not None else job.task.name,
                        id=state.id,
                        settings=settings,
                        folder=self.run.path if self.run is not None else None,
                        held=state.steps,
                        taken=self.places.before(done, steps),
                    )
                )
                state.scores = {one for one in state.scores if self.places.end_of(one[0]) <= state.steps}
                state.save()
            except Exception as error:  # whatever it raises
                self._finish(ok=False)
                raise KvorumError(
                    f"{name} cannot be started: {_said(error)}; mend that, or leave it out of track"
                ) from error
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
        new = [(of_step(line), step) for line in lines if (step := self.places.of(line)) > state.steps]
        try:
            for steps in _requests(new, one.at_once if isinstance(one, Batched) else 1):
                if isinstance(one, Batched):
                    one.log_steps(steps)
                else:
                    one.log(*steps[0])
                state.steps = steps[-1][1]
        finally:
            state.save()

    def _score_to(self, one: Tracker, state: State, epoch: int, task: str, numbers: Mapping[str, Any]) -> None:
        separation = self.run.separation(epoch, task) if self.run is not None else None
        step = self.places.end_of(epoch)
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


class Places:
    """The steps of a fit by their places in its log: a drift to other batches changes how many an epoch has."""

    def __init__(self, steps_per_epoch: int) -> None:
        self.steps_per_epoch = steps_per_epoch
        """As it is now; it counts only for what is no longer in the log."""
        self.known: dict[tuple[int, int], int] = {}

    def of(self, line: Mapping[str, Any]) -> int:
        """The place of a line, from 1 on; one that is new comes after all others."""
        at = (line["epoch"], line["step"])
        if at not in self.known:
            last = next(reversed(self.known.values())) if self.known else self._by_now(at[0] - 1, at[1])
            self.known[at] = last + 1
        return self.known[at]

    def before(self, epochs: int, steps: int) -> int:
        """The steps that lie behind a fit after some epochs, and some steps of the next."""
        behind = [place for at, place in self.known.items() if at < (epochs + 1, steps)]
        return max(behind, default=self._by_now(epochs, steps))

    def end_of(self, epoch: int) -> int:
        """The place of an epoch's last line."""
        return self.before(epoch, 0)

    def _by_now(self, epochs: int, steps: int) -> int:
        return epochs * self.steps_per_epoch + steps


def _requests(
    steps: Sequence[tuple[Mapping[str, float], int]], at_once: int
) -> Iterator[list[tuple[Mapping[str, float], int]]]:
    """The steps in parts of at most so many numbers, or of one step."""
    part: list[tuple[Mapping[str, float], int]] = []
    numbers = 0
    for scalars, step in steps:
        if part and numbers + len(scalars) > at_once:
            yield part
            part, numbers = [], 0
        part.append((scalars, step))
        numbers += len(scalars)
    if part:
        yield part


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, KvorumError) else f"{type(error).__name__}: {error}"
