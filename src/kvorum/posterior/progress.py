"""What one sees while a fit runs."""

import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichBars

if TYPE_CHECKING:
    from kvorum.posterior.job import Job


@runtime_checkable
class Progress(Protocol):
    """Told of what happens; a context manager around the whole fit."""

    def begin(self, job: "Job", done: int, steps: int) -> None:
        """A fit begins, with some epochs, and some steps of the next, done already."""

    def steps(self, lines: Sequence[dict[str, Any]]) -> None:
        """Steps were taken; the lines of the log."""

    def scored(self, epoch: int, task: str, done: int, total: int) -> None:
        """Some questions of a task were answered."""

    def numbers(self, epoch: int, task: str, numbers: dict[str, Any]) -> None:
        """A task was scored."""

    def __enter__(self) -> "Progress": ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Silent:
    """Says nothing."""

    def begin(self, job: "Job", done: int, steps: int) -> None:
        """Nothing."""

    def steps(self, lines: Sequence[dict[str, Any]]) -> None:
        """Nothing."""

    def scored(self, epoch: int, task: str, done: int, total: int) -> None:
        """Nothing."""

    def numbers(self, epoch: int, task: str, numbers: dict[str, Any]) -> None:
        """Nothing."""

    def __enter__(self) -> "Silent":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


class Bars(Silent):
    """On a terminal: epoch, step, tokens a second, time left, each member's loss; elsewhere a line an epoch."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.bars = RichBars(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
            TextColumn("{task.fields[note]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self.scoring = self.bars.add_task("scoring", total=None, visible=False, note="")
        self.since = time.monotonic()

    def begin(self, job: "Job", done: int, steps: int) -> None:
        """Set up the bar of steps."""
        self.job = job
        each = job.steps_per_epoch
        self.fitting = self.bars.add_task(
            "fitting", total=job.config.epochs * each, completed=done * each + steps, note=""
        )

    def steps(self, lines: Sequence[dict[str, Any]]) -> None:
        """Move the bar on."""
        now = time.monotonic()
        rate = sum(line["tokens"] for line in lines) / max(1e-9, now - self.since)
        self.since = now
        last = lines[-1]
        losses = " ".join("-" if loss is None else f"{loss:.2f}" for loss in last["loss"][:8])
        more = " …" if len(last["loss"]) > 8 else ""
        self.bars.update(
            self.fitting,
            advance=len(lines),
            description=f"epoch {last['epoch']}/{self.job.config.epochs}",
            note=f"{rate:,.0f} tokens/s  loss {losses}{more}",
        )
        if not self.console.is_terminal and last["step"] == self.job.steps_per_epoch - 1:
            self.console.print(f"epoch {last['epoch']}/{self.job.config.epochs} fitted: loss {losses}{more}")

    def scored(self, epoch: int, task: str, done: int, total: int) -> None:
        """Show how far scoring is."""
        self.bars.update(
            self.scoring, description=f"scoring {task}", completed=done, total=total, visible=done < total, note=""
        )
        self.since = time.monotonic()

    def numbers(self, epoch: int, task: str, numbers: dict[str, Any]) -> None:
        """One line a task and epoch."""
        self.console.print(f"epoch {epoch}  {task:<24} {headline(numbers)}", highlight=False)

    def __enter__(self) -> "Bars":
        self.since = time.monotonic()
        self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bars.stop()


def headline(numbers: dict[str, Any]) -> str:
    """Accuracy, NLL, entropy and mutual information in a line."""

    def value(*path: str) -> str:
        found: Any = numbers
        for part in path:
            found = found[part]
        return "   -" if found is None else f"{found:.3f}"

    return (
        f"accuracy {value('ensemble', 'accuracy', 'value')}  NLL {value('ensemble', 'nll', 'value')}  "
        f"entropy {value('predictive_entropy', 'all', 'mean', 'value')}  "
        f"MI {value('mutual_information', 'all', 'mean', 'value')}"
    )
