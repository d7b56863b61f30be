"""All work on one terminal: a row for each piece that is under way, and how many are done."""

import dataclasses
from collections import Counter
from types import TracebackType
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

SHOWN = 16
"""Rows at once."""
STATES = ("running", "waiting", "done", "failed")


@dataclasses.dataclass
class Row:
    """What is known of a piece of work."""

    state: str = "waiting"
    where: str = ""
    doing: str = ""
    epoch: int = 0
    epochs: int = 0
    step: int = 0
    steps: int = 0
    rate: float = 0.0
    loss: tuple[float | None, ...] = ()
    saved: str = ""


class View:
    """On a terminal a table that is drawn anew; elsewhere a line an epoch of each piece, and one at its end.

    `each` false: elsewhere no line of a piece, only how many there were.
    """

    def __init__(self, console: Console, *, each: bool = True) -> None:
        self.console = console
        self.each = each
        self.rows: dict[str, Row] = {}
        self._live = Live(console=console, transient=True, refresh_per_second=4, get_renderable=self.drawn)

    def begin(self, works: list[str]) -> None:
        """These are the pieces."""
        self.rows = {name: Row() for name in works}

    def told(self, work: str, **state: Any) -> None:
        """Something is new of a piece."""
        before = self.rows[work]
        known = {field.name for field in dataclasses.fields(Row)}
        row = dataclasses.replace(before, **{name: value for name, value in state.items() if name in known})
        if row.state != "running":
            row.doing = ""
        self.rows[work] = row
        if self.console.is_terminal or not self.each:
            return
        if row.state != before.state:
            self._line(f"{work}: {row.state}{f' on {row.where}' if row.state == 'running' else self._count()}")
        elif row.saved != before.saved:
            self._line(f"{work}: {row.saved} saved{_losses(row)}")

    def drawn(self) -> Group:
        """The table as it is now."""
        table = Table(box=None, pad_edge=False, header_style="bold")
        for heading in ("", "worker", "epoch", "", "step", "tokens/s", "loss", ""):
            table.add_column(heading, justify="right" if heading in {"epoch", "step", "tokens/s"} else "left")
        running = [(name, row) for name, row in self.rows.items() if row.state == "running"]
        for name, row in running[:SHOWN]:
            table.add_row(
                Text(name),
                Text(row.where),
                f"{row.epoch}/{row.epochs}" if row.epochs else "",
                ProgressBar(total=max(1, row.steps), completed=row.step, width=20),
                f"{row.step}/{row.steps}" if row.steps else "",
                f"{row.rate:,.0f}" if row.rate else "",
                _shown(row.loss),
                Text(row.doing),
            )
        more = f", {len(running) - SHOWN} more running" if len(running) > SHOWN else ""
        return Group(table, Text(f"{self._counts()}{more}", style="dim"))

    def _counts(self) -> str:
        states = Counter(row.state for row in self.rows.values())
        return ", ".join(f"{states[state]} {state}" for state in STATES if states[state])

    def _count(self) -> str:
        return f" ({self._counts()})"

    def _line(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False)

    def __enter__(self) -> "View":
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.console.is_terminal:
            self._live.stop()
        self._line(self._counts())


def _losses(row: Row) -> str:
    return f", loss {_shown(row.loss)}" if row.loss else ""


def _shown(loss: tuple[float | None, ...]) -> str:
    shown = " ".join("-" if one is None else f"{one:.2f}" for one in loss[:4])
    return shown + (" …" if len(loss) > 4 else "")
