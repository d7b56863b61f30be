"""Figure 1: accuracy, NLL and calibration error against epoch, for ensembles of one member up to all of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from kvorum.report.analysis import Studied
from kvorum.report.figures.palette import LIGHT, SIZES
from kvorum.report.figures.sheet import Sheet

LEFT, TOP, BOTTOM = 0.62, 0.56, 0.52
PANEL_WIDTH, PANEL_HEIGHT, GAP = 2.75, 1.75, 0.62
BLOCK_HEADING, BLOCK_GAP = 0.74, 0.42
LETTER = 0.058
"""Inches that a letter of a mark's label takes, about."""
ROOM = 0.3
"""Epochs left free at either end of an axis."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """A number drawn against epoch, and the least span of its axis, so that noise does not look like news."""

    key: str
    name: str
    span: float
    highest: float


METRICS = (
    Metric(key="accuracy", name="accuracy", span=0.1, highest=1.0),
    Metric(key="nll", name="NLL (nats)", span=0.2, highest=float("inf")),
    Metric(key="ece", name="calibration error (ECE)", span=0.05, highest=1.0),
)


def draw_curves(tasks: Sequence[Sequence[Studied]], marks: Mapping[int, str]) -> Sheet:
    """A block of three panels a task: a line a size of ensemble, the whole one with its 95% interval.

    `marks` are the epochs to mark, and what to call each.
    """
    block = BLOCK_HEADING + PANEL_HEIGHT + BLOCK_GAP
    width = LEFT + len(METRICS) * (PANEL_WIDTH + GAP) - GAP + 0.15
    sheet = Sheet(width, TOP + len(tasks) * block - BLOCK_GAP + BOTTOM)
    colours = size_colours(drawn_sizes(tasks))
    _legend(sheet, tasks, colours)
    for number, task in enumerate(tasks):
        top = TOP + number * block
        sheet.text(LEFT, top + 0.16, task[0].evaluation.title, weight="bold", fontsize=10)
        for column, metric in enumerate(METRICS):
            left = LEFT + column * (PANEL_WIDTH + GAP)
            sheet.text(left, top + BLOCK_HEADING - 0.27, metric.name, fontsize=8.5)
            axes = sheet.axes(left, top + BLOCK_HEADING, PANEL_WIDTH, PANEL_HEIGHT)
            _draw_panel(axes, task, metric, colours)
            _draw_marks(sheet, axes, (left, top + BLOCK_HEADING), [studied.epoch for studied in task], marks)
            if number == len(tasks) - 1:
                sheet.text(left + PANEL_WIDTH / 2, sheet.height - 0.14, "epoch", "muted", ha="center")
    return sheet


def drawn_sizes(tasks: Sequence[Sequence[Studied]]) -> list[int]:
    """The sizes that have a line, the whole ensemble's last: all, or some evenly between where they are too many."""
    found = sorted({row["size"] for task in tasks for row in task[-1].subensembles})
    if len(found) <= len(SIZES):
        return found
    return [found[round(place)] for place in np.linspace(0, len(found) - 1, len(SIZES))]


def size_colours(sizes: Sequence[int]) -> dict[int, str]:
    """A colour's name for each size, the strongest for the largest."""
    steps = np.linspace(0, len(SIZES) - 1, len(sizes)) if len(sizes) > 1 else [len(SIZES) - 1]
    return {size: SIZES[round(step)] for size, step in zip(sizes, steps, strict=True)}


def epoch_axis(axes: Axes, epochs: Sequence[int]) -> None:
    """Ticks at the epochs (at some, where they are many), with room at either end."""
    if len(epochs) <= 11:
        axes.set_xticks(list(epochs))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=10, integer=True))
    axes.set_xlim(epochs[0] - ROOM, epochs[-1] + ROOM)


def spread_labels(places: Sequence[float], widths: Sequence[float], low: float, high: float) -> list[float]:
    """Centres for labels of these widths: where they belong, pushed aside where two would overlap or leave the panel.

    `places` ascend. Labels that find no room between `low` and `high` overlap all the same.
    """
    found: list[float] = []
    edge = low
    for place, width in zip(places, widths, strict=True):
        found.append(max(place, edge + width / 2))
        edge = found[-1] + width / 2
    edge = high
    for number in reversed(range(len(found))):
        found[number] = min(found[number], edge - widths[number] / 2)
        edge = found[number] - widths[number] / 2
    return found


def _draw_panel(axes: Axes, task: Sequence[Studied], metric: Metric, colours: Mapping[int, str]) -> None:
    epochs = [studied.epoch for studied in task]
    *smaller, whole = colours
    # A lone epoch has no lines, only dots: side by side, so that they do not hide each other.
    lone = len(epochs) == 1
    asides = np.linspace(-0.15, 0.15, len(colours)) if lone and smaller else np.zeros(len(colours))
    for size, aside in zip(smaller, asides, strict=False):
        _draw_size(axes, task, metric, size, colours[size], float(aside))
    value, low, high = (
        np.array([_number(studied.evaluation.numbers["ensemble"][metric.key][part]) for studied in task])
        for part in ("value", "low", "high")
    )
    axes.errorbar(
        np.array(epochs) + asides[-1],
        value,
        yerr=tuple(np.nan_to_num(np.maximum(aside, 0)) for aside in (value - low, high - value)),
        color=LIGHT[colours[whole]],
        linewidth=2,
        elinewidth=1.1,
        capsize=2.5,
        marker="o",
        markersize=4.5,
        zorder=4,
        gid="ensemble",
    )
    chance = task[-1].evaluation.chance
    if metric.key == "accuracy" and np.isfinite(chance):
        axes.axhline(chance, color=LIGHT["muted"], linewidth=1, linestyle=":", gid="chance")
    if not np.isfinite(value).any():
        axes.text(0.5, 0.5, "no known answers", transform=axes.transAxes, ha="center", color=LIGHT["muted"])
    epoch_axis(axes, epochs)
    _set_limits(axes, metric)


def _draw_size(axes: Axes, task: Sequence[Studied], metric: Metric, size: int, colour: str, aside: float) -> None:
    """The mean over the groups of a size, over a band from the least to the greatest of them."""
    epochs = np.array([studied.epoch for studied in task]) + aside
    rows = [next((row for row in studied.subensembles if row["size"] == size), None) for studied in task]
    value, least, greatest = (
        np.array([_number(row[metric.key][part] if row else None) for row in rows])
        for part in ("value", "least", "greatest")
    )
    how: dict[str, Any] = {"color": LIGHT[colour], "gid": f"spread-{size}"}
    if len(epochs) == 1:
        axes.vlines(epochs, least, greatest, linewidth=5, alpha=0.35, **how)
    elif any(row and row["groups"] > 1 for row in rows):
        axes.fill_between(epochs, least, greatest, alpha=0.2, linewidth=0, **how)
    axes.plot(epochs, value, color=LIGHT[colour], linewidth=1.5, marker=".", markersize=5, zorder=3, gid=f"size-{size}")


def _draw_marks(
    sheet: Sheet, axes: Axes, corner: tuple[float, float], epochs: Sequence[int], marks: Mapping[int, str]
) -> None:
    """Thin lines at the marked epochs, their labels over the panel."""
    marked = [epoch for epoch in sorted(marks) if epoch in epochs]
    for epoch in marked:
        axes.axvline(
            epoch, color=LIGHT["muted"], linewidth=0.8, linestyle=(0, (1, 1.5)), zorder=1.5, gid=f"mark-{epoch}"
        )
    words = [marks[epoch] for epoch in marked]
    left, top = corner
    low, high = axes.get_xlim()
    places = [left + (epoch - low) / (high - low) * PANEL_WIDTH for epoch in marked]
    widths = [LETTER * (len(word) + 1) for word in words]
    right = left + PANEL_WIDTH + 0.15
    for word, place in zip(words, spread_labels(places, widths, left, right), strict=True):
        sheet.text(place, top - 0.08, word, "muted", ha="center", fontsize=7.5)


def _set_limits(axes: Axes, metric: Metric) -> None:
    low, high = axes.get_ylim()
    if high - low < metric.span:
        low, high = (low + high - metric.span) / 2, (low + high + metric.span) / 2
    axes.set_ylim(max(0.0, low), min(high, metric.highest + metric.span * 0.2))


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def _legend(sheet: Sheet, tasks: Sequence[Sequence[Studied]], colours: Mapping[int, str]) -> None:
    *smaller, whole = colours
    groups = {row["size"]: row["groups"] for task in tasks for row in task[-1].subensembles}
    handles: list[Any] = []
    labels = []
    for size in smaller:
        colour = LIGHT[colours[size]]
        line = Line2D([], [], color=colour, linewidth=1.5, marker=".", markersize=5)
        handles.append((Patch(facecolor=colour, alpha=0.2), line) if groups[size] > 1 else line)
        several = f" ({groups[size]} {'members' if size == 1 else 'ensembles'})" if groups[size] > 1 else ""
        labels.append(f"M = {size}{several}")
    handles.append(Line2D([], [], color=LIGHT[colours[whole]], linewidth=2, marker="o", markersize=4.5))
    labels.append(_whole(tasks, whole))
    handles.append(Line2D([], [], color=LIGHT["muted"], linewidth=1, linestyle=":"))
    labels.append("guessing")
    sheet.figure.legend(
        handles=handles,
        labels=labels,
        loc="upper left",
        bbox_to_anchor=((LEFT - 0.08) / sheet.width, 1 - 0.1 / sheet.height),
        ncols=len(handles),
        columnspacing=1.4,
        frameon=False,
        labelcolor=LIGHT["ink"],
        borderaxespad=0,
        fontsize=8.5,
    )


def _whole(tasks: Sequence[Sequence[Studied]], members: int) -> str:
    if any(len(studied.evaluation.members) != members for task in tasks for studied in task):
        return "all members, 95% interval"
    return f"M = {members} (all), 95% interval" if members > 1 else "the only member, 95% interval"
