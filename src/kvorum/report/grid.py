"""A table of the page before it is HTML: headings, rows by task, and cells that may lead to a list of questions."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from kvorum.report.analysis import Analysis, Studied
from kvorum.report.tables import NOTHING, Cell
from kvorum.report.words import count

FEW = 6
"""Epochs that a table shows all of at once; of more, the first, the marked and the last, and the rest on demand."""
DASH = "–"


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """What stands in a cell."""

    text: str
    small: str = ""
    """Under it: an interval, or why there is no number."""
    link: str = ""
    """Fragment of the page's address that lists the questions behind the number."""
    tone: str = ""
    """Class that colours it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Neighbouring columns under one heading."""

    name: str
    columns: tuple[str, ...]
    better: str = ""
    """`higher`, `lower` or empty where neither is better."""
    tone: str = ""
    """A name of the palette, which marks the heading."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """A row."""

    head: str
    entries: tuple[Entry, ...]
    more: bool = False
    """Whether it shows only on demand."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Body:
    """Rows that belong together, under one heading."""

    title: str
    lines: tuple[Line, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Grid:
    """A table with what the page says over it."""

    key: str
    title: str
    hint: str
    stub: str
    """Heading of the rows' own column."""
    groups: tuple[Group, ...]
    bodies: tuple[Body, ...]
    words: tuple[str, ...] = ()
    """Sentences over it that hold numbers of this run."""

    @property
    def width(self) -> int:
        """Columns, the rows' own included."""
        return 1 + sum(len(group.columns) for group in self.groups)

    @property
    def firsts(self) -> set[int]:
        """Places of the entries that begin a group."""
        places = [0]
        for group in self.groups:
            places.append(places[-1] + len(group.columns))
        return set(places[:-1])

    @property
    def more(self) -> int:
        """How many rows show only on demand."""
        return sum(line.more for body in self.bodies for line in body.lines)


def number(interval: Mapping[str, Any] | Cell) -> Entry:
    """A number over its interval."""
    cell = interval if isinstance(interval, Cell) else Cell.of(interval)
    return Entry(text=cell.text, small=cell.interval)


def percent(interval: Mapping[str, Any]) -> Entry:
    """A share in percent over its interval."""
    if interval["value"] is None:
        return Entry(text=DASH)
    return Entry(text=f"{_hundredths(interval['value'])}%", small=percents(interval))


def percents(interval: Mapping[str, Any]) -> str:
    """The interval of a share; empty where there is none."""
    if interval["low"] is None:
        return ""
    return f"{_hundredths(interval['low'])}–{_hundredths(interval['high'])}%"


def signed(interval: Mapping[str, Any]) -> Entry:
    """A difference over its interval, with their signs."""
    if interval["value"] is None:
        return Entry(text=DASH)
    low, high = interval["low"], interval["high"]
    return Entry(
        text=with_sign(interval["value"]), small="" if low is None else f"{with_sign(low)} to {with_sign(high)}"
    )


def with_sign(value: float) -> str:
    """A difference with its sign, a true minus."""
    if abs(value) < NOTHING:
        return "0.000"
    digits = Cell(value=abs(value)).text
    return digits if digits.startswith("<") else f"{'+' if value > 0 else '−'}{digits}"


def questions(of: Studied, number: int, **chosen: str) -> Entry:
    """How many questions, leading to their list; `chosen` are the list's filters."""
    if not number:
        return Entry(text="0")
    fragment = urlencode({"task": of.task, "epoch": of.epoch, **chosen}, quote_via=quote, safe="")
    return Entry(text=f"{number:,}", link=f"questions&{fragment}")


def by_epoch(analysis: Analysis, tasks: Iterable[Sequence[tuple[Studied, Sequence[Entry]]]]) -> tuple[Body, ...]:
    """A body a task and a row an epoch."""
    bodies = []
    for rows in tasks:
        epochs = [of.epoch for of, _ in rows]
        shown = {epochs[0], epochs[-1], *analysis.marks} if len(epochs) > FEW else set(epochs)
        lines = tuple(
            Line(head=str(of.epoch), entries=tuple(entries), more=of.epoch not in shown) for of, entries in rows
        )
        bodies.append(Body(title=heading([of for of, _ in rows]), lines=lines))
    return tuple(bodies)


def marked(analysis: Analysis) -> list[Studied]:
    """Every task at the epochs that are marked; at its last where it is scored at none of them."""
    return [of for task in analysis.tasks for of in analysis.marked(task)]


def at(analysis: Analysis, of: Studied) -> str:
    """A task and epoch, with what marks the epoch."""
    return f"{of.evaluation.title}, {epoch_words(analysis, of.epoch)}"


def epoch_words(analysis: Analysis, epoch: int) -> str:
    """An epoch with what marks it."""
    first = analysis.tasks[0][0].evaluation
    where = "in domain" if first.in_domain else f"on {first.task}"
    words = {analysis.best: f"best NLL {where}", analysis.last: "the last"}.get(epoch, "")
    if epoch == analysis.best == analysis.last:
        words = f"the last, and of best NLL {where}"
    return f"epoch {epoch}" + (f" ({words})" if words else "")


def heading(task: Sequence[Studied]) -> str:
    """A task with how many questions it has, and what is particular about them."""
    evaluation = task[-1].evaluation
    questions, labelled = evaluation.numbers["questions"], evaluation.numbers["labelled"]
    words = f"{evaluation.title}: {count(questions, 'question')}"
    if labelled != questions:
        words += f", {labelled:,} with a known answer"
    return words + (", fitted on" if evaluation.fitted_on else "")


def _hundredths(share: float) -> str:
    """Percent, with a decimal where it is below ten."""
    value = 100 * share
    return f"{value:.1f}" if NOTHING < abs(value) < 9.95 else f"{value:.0f}"
