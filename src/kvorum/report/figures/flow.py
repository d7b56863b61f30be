"""Figure 7: what became of each question since epoch 0, and by which ways."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Int64
from matplotlib.axes import Axes
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path as Outline

from kvorum.report.analysis import Studied
from kvorum.report.figures.palette import LIGHT
from kvorum.report.figures.sheet import Sheet, percent
from kvorum.uncertainty.retention import OUTCOMES, UNKNOWN

ORDER = ("retained", "acquired", "forgotten", "never known")
"""From top to bottom: what is right now lies above what is wrong now, so that the two meet at the accuracy."""
MEANING = {
    "retained": "right before, right now",
    "acquired": "wrong before, right now",
    "forgotten": "right before, wrong now",
    "never known": "wrong before, wrong now",
}
AT_FIRST = {"retained": "right before", "never known": "wrong before"}
"""Epoch 0 has but two outcomes, by these names."""
MARGIN, LEFT, RIGHT, TOP, BOTTOM = 0.15, 1.42, 1.5, 0.78, 0.2
WIDTH, HEIGHT, BAR = 7.34, 2.1, 0.13
HEADING, EPOCHS, BLOCK_GAP = 0.42, 0.28, 0.3
STEP, NARROWEST = 1.9, 4.8
LINE = 0.165
RIBBON = 0.42
"""Opacity: where ribbons cross, both are seen."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Column:
    """The outcomes at an epoch, stacked; places are shares of the counted questions, from 0 at the top."""

    epoch: int
    left: float
    width: float
    counts: Int64[np.ndarray, "outcome"]
    """By place in `OUTCOMES`."""

    @cached_property
    def total(self) -> int:
        """How many questions are counted, at least 1 to divide by."""
        return max(1, int(self.counts.sum()))

    def top(self, name: str) -> float:
        """Where an outcome begins."""
        above = ORDER[: ORDER.index(name)]
        return sum(int(self.counts[OUTCOMES.index(each)]) for each in above) / self.total

    def share(self, name: str) -> float:
        """How much of the stack an outcome is."""
        return int(self.counts[OUTCOMES.index(name)]) / self.total


def flows(
    before: Int64[np.ndarray, "example"], after: Int64[np.ndarray, "example"]
) -> Int64[np.ndarray, "outcome outcome"]:
    """How many questions go from each outcome (row) to each (column); those not counted on both sides are left out."""
    both = (before != UNKNOWN) & (after != UNKNOWN)
    kinds = len(OUTCOMES)
    return np.bincount(kinds * before[both] + after[both], minlength=kinds**2).reshape(kinds, kinds).astype(np.int64)


def draw_flow(tasks: Sequence[Sequence[Studied]]) -> Sheet:
    """A block a task: a stack of outcomes at each epoch, and between neighbours what goes from which to which."""
    shown = [[studied for studied in task if studied.change is not None] for task in tasks]
    longest = max((len(task) for task in shown), default=1)
    width = float(np.clip((longest - 1) * STEP, NARROWEST, WIDTH))
    block = HEADING + HEIGHT + EPOCHS + BLOCK_GAP
    sheet = Sheet(LEFT + width + RIGHT, TOP + len(tasks) * block - BLOCK_GAP + BOTTOM)
    _draw_key(sheet)
    for number, task in enumerate(shown):
        top = TOP + number * block
        title = tasks[number][0].evaluation.title
        sheet.text(LEFT, top + 0.16, title, weight="bold", fontsize=10)
        own = width if len(task) == longest else min(width, max(len(task) - 1, 1) * STEP)
        _draw_task(sheet, task, top + HEADING, own)
    sheet.text(LEFT + width / 2, sheet.height - 0.14, "epoch", "muted", ha="center")
    return sheet


def _draw_task(sheet: Sheet, task: Sequence[Studied], top: float, width: float) -> None:
    axes = sheet.axes(LEFT, top, width, HEIGHT)
    axes.set_axis_off()
    axes.set_xlim(0, width)
    axes.set_ylim(1, 0)
    bar = min(BAR, 0.4 * width / max(len(task) - 1, 1))
    lefts = np.linspace(0, width - bar, len(task)) if len(task) > 1 else [0.0]
    columns = [
        Column(epoch=studied.epoch, left=float(left), width=bar, counts=_counts(studied))
        for studied, left in zip(task, lefts, strict=True)
    ]
    if not any(column.counts.any() for column in columns):
        axes.text(0.5, 0.5, "no known answers", transform=axes.transAxes, ha="center", color=LIGHT["muted"])
        return
    for number in range(len(task) - 1):
        pair, between = task[number : number + 2], columns[number : number + 2]
        _draw_ribbons(axes, between[0], between[1], flows(*_aligned(*pair)))
    for column in columns:
        _draw_stack(axes, column)
    for column in columns[:: -(-len(columns) // 26)]:
        sheet.text(LEFT + column.left + bar / 2, top + HEIGHT + 0.15, str(column.epoch), "muted", ha="center")
    _draw_shares(sheet, columns[0], LEFT - 0.12, top, "right")
    if len(columns) > 1:
        _draw_shares(sheet, columns[-1], LEFT + columns[-1].left + bar + 0.12, top, "left")


def _counts(studied: Studied) -> Int64[np.ndarray, "outcome"]:
    assert studied.change is not None
    outcome = studied.change.outcome
    return np.bincount(outcome[outcome != UNKNOWN], minlength=len(OUTCOMES)).astype(np.int64)


def _aligned(before: Studied, after: Studied) -> tuple[Int64[np.ndarray, "example"], Int64[np.ndarray, "example"]]:
    """The outcomes of the later epoch's questions at both; -1 where the earlier one was not asked."""
    assert before.change is not None
    assert after.change is not None
    if before.evaluation.keys == after.evaluation.keys:
        return before.change.outcome, after.change.outcome
    known = dict(zip(before.evaluation.keys, before.change.outcome.tolist(), strict=True))
    found = [known.get(key, UNKNOWN) for key in after.evaluation.keys]
    return np.array(found, dtype=np.int64), after.change.outcome


def _draw_ribbons(axes: Axes, before: Column, after: Column, counts: Int64[np.ndarray, "outcome outcome"]) -> None:
    """Within a stack's outcome, ribbons lie in the order of where they come from or go to, so that few cross."""
    leaving = {name: before.top(name) for name in ORDER}
    arriving = {name: after.top(name) for name in ORDER}
    for source in ORDER:
        for target in ORDER:
            count = int(counts[OUTCOMES.index(source), OUTCOMES.index(target)])
            if not count:
                continue
            start, end = (leaving[source], count / before.total), (arriving[target], count / after.total)
            leaving[source] += start[1]
            arriving[target] += end[1]
            axes.add_artist(
                PathPatch(
                    _ribbon(before.left + before.width / 2, after.left + after.width / 2, start, end),
                    facecolor=LIGHT[colour_of(source)],
                    edgecolor="none",
                    alpha=RIBBON,
                    gid=f"{before.epoch}-{after.epoch}/{source}/{target}",
                    zorder=2,
                )
            )


def _ribbon(left: float, right: float, start: tuple[float, float], end: tuple[float, float]) -> Outline:
    """Between two edges, each a top and a height, by curves that leave and arrive level."""
    middle = (left + right) / 2
    (top, height), (other_top, other_height) = start, end
    bottom, other_bottom = top + height, other_top + other_height
    points = [(left, top), (middle, top), (middle, other_top), (right, other_top), (right, other_bottom)]
    points += [(middle, other_bottom), (middle, bottom), (left, bottom), (left, top)]
    curve = [Outline.CURVE4] * 3
    return Outline(points, [Outline.MOVETO, *curve, Outline.LINETO, *curve, Outline.CLOSEPOLY])


def colour_of(name: str) -> str:
    """The palette's name for an outcome."""
    return name.replace(" ", "-")


def _draw_stack(axes: Axes, column: Column) -> None:
    for name in ORDER:
        axes.add_artist(
            Rectangle(
                (column.left, column.top(name)),
                column.width,
                column.share(name),
                facecolor=LIGHT[colour_of(name)],
                edgecolor="none",
                gid=f"{column.epoch}/{name}",
                zorder=3,
            )
        )
    if column.counts.any():
        edges, accuracy = (column.left - 0.05, column.left + column.width + 0.05), column.top("forgotten")
        for colour, thickness in (("halo", 3.2), ("ink", 1.6)):
            axes.plot(
                edges,
                (accuracy, accuracy),
                color=LIGHT[colour],
                linewidth=thickness,
                solid_capstyle="butt",
                clip_on=False,
                zorder=4,
                gid=f"{column.epoch}/accuracy/{colour}",
            )


def _draw_shares(sheet: Sheet, column: Column, left: float, top: float, side: str) -> None:
    """Each outcome's share in words beside its stack, moved apart where stacks are thin."""
    names = [name for name in ORDER if column.epoch or name in AT_FIRST]
    middles = [(column.top(name) + column.share(name) / 2) * HEIGHT for name in names]
    for name, place in zip(names, apart(middles, LINE), strict=True):
        words = name if column.epoch else AT_FIRST[name]
        sheet.text(left, top + place, f"{percent(column.share(name))} {words}", ha=side)


def apart(places: Sequence[float], least: float) -> list[float]:
    """Rising places moved as little as needed to lie no nearer than `least`."""
    down, up = list(places), list(places)
    for number in range(1, len(down)):
        down[number] = max(down[number], down[number - 1] + least)
        up[-number - 1] = min(up[-number - 1], up[-number] - least)
    # Pushed down only, and pushed up only: halfway between, neighbours are still as far apart.
    return [(one + other) / 2 for one, other in zip(down, up, strict=True)]


def _draw_key(sheet: Sheet) -> None:
    axes = sheet.axes(MARGIN, 0.08, sheet.width - 2 * MARGIN, TOP - 0.16)
    axes.set_axis_off()
    axes.set_xlim(0, sheet.width - 2 * MARGIN)
    axes.set_ylim(TOP - 0.16, 0)
    for number, name in enumerate(ORDER):
        left, top = (number % 2) * 2.75, 0.06 + (number // 2) * 0.24
        axes.add_artist(Rectangle((left, top), 0.16, 0.13, facecolor=LIGHT[colour_of(name)], edgecolor="none"))
        sheet.text(MARGIN + left + 0.24, 0.08 + top + 0.065, f"{name}: {MEANING[name]}")
    axes.plot((5.5, 5.72), (0.125, 0.125), color=LIGHT["ink"], linewidth=1.6, solid_capstyle="butt")
    sheet.text(MARGIN + 5.8, 0.205, "right above, wrong below")
