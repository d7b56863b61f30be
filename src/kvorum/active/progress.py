"""What one sees while an experiment runs."""

from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from kvorum.active.records import START, Learned
from kvorum.posterior.progress import Progress as FitProgress
from kvorum.posterior.progress import Silent

if TYPE_CHECKING:
    from kvorum.posterior.job import Job


@runtime_checkable
class Rounds(Protocol):
    """Told of what happens; a context manager around the whole experiment."""

    def begin(self, rounds: int) -> None:
        """An experiment of so many rounds begins, those that are done already among them."""

    def round(self, acquisition: str, number: int, of: int) -> None:
        """A round begins."""

    def fitting(self) -> FitProgress:
        """What is told of a round's fit."""
        ...

    def questions(self, done: int, total: int) -> None:
        """Some questions of the pool and the test were scored."""

    def done(self, learned: Learned, acquisition: str, number: int) -> None:
        """A round is there for all seeds."""

    def __enter__(self) -> "Rounds": ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class SilentRounds:
    """Says nothing."""

    def begin(self, rounds: int) -> None:
        """Nothing."""

    def round(self, acquisition: str, number: int, of: int) -> None:
        """Nothing."""

    def fitting(self) -> FitProgress:
        """Nothing."""
        return Silent()

    def questions(self, done: int, total: int) -> None:
        """Nothing."""

    def done(self, learned: Learned, acquisition: str, number: int) -> None:
        """Nothing."""

    def __enter__(self) -> "SilentRounds":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


class RoundBars(SilentRounds):
    """On a terminal bars of rounds and of what is under way; everywhere a line a round."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self.all = self.bars.add_task("rounds", total=None)
        self.now = self.bars.add_task("", total=None, visible=False)

    def begin(self, rounds: int) -> None:
        """Set up the bar of rounds."""
        self.bars.update(self.all, total=rounds)

    def round(self, acquisition: str, number: int, of: int) -> None:
        """Say what is under way."""
        self.bars.update(self.all, description=f"{acquisition} {number}/{of}" if number else START)

    def fitting(self) -> FitProgress:
        """Show the steps of the fit."""
        return _Steps(self)

    def questions(self, done: int, total: int) -> None:
        """Show how far scoring is."""
        self.show("scoring", done, total)

    def show(self, what: str, done: int, total: int) -> None:
        """Move the lower bar."""
        self.bars.update(self.now, description=what, completed=done, total=total, visible=done < total)

    def done(self, learned: Learned, acquisition: str, number: int) -> None:
        """One line a round."""
        self.bars.update(self.all, advance=1)
        name = f"{acquisition} {number}" if number else START
        self.console.print(f"{name:<24} {outcome(learned, acquisition, number)}", highlight=False)

    def __enter__(self) -> "RoundBars":
        self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bars.stop()


class _Steps(Silent):
    """A fit, told of in the lower bar."""

    def __init__(self, bars: RoundBars) -> None:
        self.bars = bars
        self.taken = 0
        self.total = 0

    def begin(self, job: "Job", done: int, steps: int) -> None:
        """Note how many steps there will be."""
        self.total = job.config.epochs * job.steps_per_epoch

    def steps(self, lines: Sequence[dict[str, Any]]) -> None:
        """Move on."""
        self.taken += len(lines)
        self.bars.show("fitting", self.taken, self.total)


def outcome(learned: Learned, acquisition: str, number: int) -> str:
    """What a round of all seeds came to on the first test task, in a line."""
    seeds = learned.config.seeds
    scored = [learned.test(acquisition, number, seed, learned.tests[0]) for seed in seeds]
    labels = [learned.record(acquisition, number, seed).labels for seed in seeds]
    accuracy, nll = [one.accuracy() for one in scored], [one.nll() for one in scored]
    return (
        f"{max(labels):>6} labels  accuracy {np.mean(accuracy):.3f} ({_each(accuracy)})  "
        f"NLL {np.mean(nll):.3f} ({_each(nll)})"
    )


def _each(values: Sequence[float]) -> str:
    return " ".join(f"{value:.3f}" for value in values)
