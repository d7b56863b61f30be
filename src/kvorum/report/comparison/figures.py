"""The figures of a comparison: every run's numbers against epoch, and how far each lies from the baseline."""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from kvorum.report.comparison.compare import ComparedTask, Comparison
from kvorum.report.comparison.tables import BY_KEY, Compared, Shift, heading_of, title_of
from kvorum.report.figures.palette import LIGHT
from kvorum.report.figures.series import draw_legend, legend_rows, series_style, short
from kvorum.report.figures.sheet import Sheet, printable

LEFT, RIGHT, BOTTOM = 0.62, 0.15, 0.5
PANEL_WIDTH, PANEL_HEIGHT, GAP = 2.08, 1.7, 0.6
BLOCK_HEADING, BLOCK_GAP = 0.55, 0.42
CURVES = ("accuracy", "nll", "ece", "mutual_information")
LEAST_SPAN = {"accuracy": 0.1, "nll": 0.2, "ece": 0.05, "mutual_information": 0.02}
"""Of an axis, so that noise does not look like news."""
UNITS = {"nll": "NLL (nats)", "ece": "calibration error (ECE)", "mutual_information": "mean MI (nats)"}

LABELS, FOREST_WIDTH, FOREST_GAP, ROW = 2.35, 1.5, 0.2, 0.2
FOREST = ("accuracy", "nll", "ece", "mutual_information", "wrong_auroc.predictive_entropy")


def draw_comparison_curves(comparison: Comparison) -> Sheet:
    """A block of four panels a task; a line a run, with the 95% interval of each number."""
    names = [f"{short(name)} (baseline)" if place == 0 else short(name) for place, name in enumerate(comparison.names)]
    rows = legend_rows(names, LEFT, LEFT + len(CURVES) * (PANEL_WIDTH + GAP) - GAP)
    top_of_all = 0.14 + 0.22 * len(rows) + 0.12
    block = BLOCK_HEADING + PANEL_HEIGHT + BLOCK_GAP
    width = LEFT + len(CURVES) * (PANEL_WIDTH + GAP) - GAP + RIGHT
    sheet = Sheet(width, top_of_all + len(comparison.tasks) * block - BLOCK_GAP + BOTTOM)
    draw_legend(sheet, names, rows)
    for number, task in enumerate(comparison.tasks):
        top = top_of_all + number * block
        sheet.text(LEFT, top + 0.14, heading_of(comparison, task), weight="bold", fontsize=10)
        for column, key in enumerate(CURVES):
            left = LEFT + column * (PANEL_WIDTH + GAP)
            name = f"{UNITS.get(key, key)} {BY_KEY[key].arrow}".strip()
            sheet.text(left, top + BLOCK_HEADING - 0.13, name, "muted", fontsize=8.5)
            _draw_curves(sheet.axes(left, top + BLOCK_HEADING, PANEL_WIDTH, PANEL_HEIGHT), comparison, task, key)
            if number == len(comparison.tasks) - 1:
                sheet.text(left + PANEL_WIDTH / 2, sheet.height - 0.14, "epoch", "muted", ha="center")
    return sheet


def draw_differences(comparison: Comparison) -> Sheet:
    """Differences to the baseline at the best and last epochs: a row a run, a column a number, all tasks to scale."""
    tasks = [task for task in comparison.tasks if task.ends]
    runs = len(comparison.names) - 1
    rows = [len(task.ends) * (runs + 1) for task in tasks]
    width = LABELS + len(FOREST) * (FOREST_WIDTH + FOREST_GAP) - FOREST_GAP + RIGHT
    heading, gap, top_of_all = 0.36, 0.42, 0.5
    sheet = Sheet(width, top_of_all + sum(ROW * count + heading + gap for count in rows))
    sheet.text(0.12, 0.2, f"difference to {printable(comparison.names[0], 22)}", "muted", fontsize=8.5)
    for column, key in enumerate(FOREST):
        place = LABELS + column * (FOREST_WIDTH + FOREST_GAP) + FOREST_WIDTH / 2
        sheet.text(place, 0.2, f"{BY_KEY[key].name} {BY_KEY[key].arrow}".strip(), ha="center", fontsize=9)
    limits = [_forest_limits(tasks, BY_KEY[key]) for key in FOREST]
    top = top_of_all
    for task, count in zip(tasks, rows, strict=True):
        sheet.text(0.12, top + 0.1, heading_of(comparison, task), weight="bold", fontsize=9.5)
        top += heading
        _forest_labels(sheet, comparison, task, top)
        for column, key in enumerate(FOREST):
            left = LABELS + column * (FOREST_WIDTH + FOREST_GAP)
            axes = sheet.axes(left, top, FOREST_WIDTH, ROW * count)
            _draw_forest(axes, task, BY_KEY[key], limits[column])
            axes.set_ylim(count - 0.5, -0.5)
        top += ROW * count + gap
    return sheet


def _draw_curves(axes: Axes, comparison: Comparison, task: ComparedTask, key: str) -> None:
    runs = len(comparison.names)
    # Side by side, so that no interval hides another.
    apart = min(0.12, 0.5 / runs)
    drawn: set[int] = set()
    for place in range(runs):
        curve = task.curve(place)
        epochs = [standing.epoch for standing in curve]
        drawn |= set(epochs)
        value, low, high = (
            np.array([np.nan if (of := standing.numbers[key][part]) is None else of for standing in curve], float)
            for part in ("value", "low", "high")
        )
        colour, marker, line = series_style(place)
        at = np.array(epochs) + (place - (runs - 1) / 2) * apart
        axes.errorbar(
            at,
            value,
            yerr=np.nan_to_num(np.maximum(np.stack([value - low, high - value]), 0)),
            color=colour,
            linestyle=line,
            linewidth=1.5,
            elinewidth=0.9,
            marker=marker,
            markersize=3.6,
            gid=f"run-{place}",
        )
    if not any(np.isfinite(line.get_ydata()).any() for line in axes.get_lines()):
        axes.text(0.5, 0.5, "no known answers", transform=axes.transAxes, ha="center", color=LIGHT["muted"])
    _limit(axes, sorted(drawn), key)


def _limit(axes: Axes, epochs: Sequence[int], key: str) -> None:
    if len(epochs) <= 11 and all(after - before == 1 for before, after in pairwise(epochs)):
        axes.set_xticks(epochs)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
    axes.set_xlim(epochs[0] - 0.5, epochs[-1] + 0.5)
    low, high = axes.get_ylim()
    span = LEAST_SPAN[key]
    if high - low < span:
        low, high = (low + high - span) / 2, (low + high + span) / 2
    highest = 1 + span * 0.2 if key in ("accuracy", "ece") else float("inf")
    # A little below zero, so that marks upon it are whole.
    axes.set_ylim(max(-0.03 * (high - low), low), min(high, highest))


def _forest_limits(tasks: Sequence[ComparedTask], column: Compared) -> tuple[float, float]:
    ends = [0.0]
    for task in tasks:
        for moment in task.ends:
            for standing in moment.standings[1:]:
                assert standing.difference is not None
                shift = standing.difference[column.key]
                ends += [part for part in shift.values() if isinstance(part, float)]
    span = max(max(ends) - min(ends), LEAST_SPAN.get(column.key, 0.1) / 4)
    # Zero far enough from both edges to be labelled.
    return min(min(ends) - 0.06 * span, -0.15 * span), max(max(ends) + 0.06 * span, 0.15 * span)


def _forest_labels(sheet: Sheet, comparison: Comparison, task: ComparedTask, top: float) -> None:
    row = 0
    for moment in task.ends:
        sheet.text(0.12, top + ROW * (row + 0.5), title_of(moment), "muted", fontsize=8)
        for name in comparison.names[1:]:
            row += 1
            sheet.text(LABELS - 0.16, top + ROW * (row + 0.5), printable(name, 28), ha="right", fontsize=8)
        row += 1


def _draw_forest(axes: Axes, task: ComparedTask, column: Compared, limits: tuple[float, float]) -> None:
    axes.axvline(0, color=LIGHT["muted"], linewidth=1, gid="zero")
    row = 0
    for moment in task.ends:
        for place, standing in enumerate(moment.standings[1:], start=1):
            row += 1
            assert standing.difference is not None
            _draw_difference(axes, row, place, Shift.of(standing.difference[column.key]))
        row += 1
    axes.set_yticks([])
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.set_xlim(*limits)
    axes.set_xticks(_forest_ticks(*limits))
    axes.tick_params(labelsize=7.5)


def _forest_ticks(low: float, high: float) -> list[float]:
    """Zero and its multiples of a round step: far enough apart, and from the edges, for their labels."""
    span = high - low
    scale = 10.0 ** math.floor(math.log10(0.26 * span))
    step = next(scale * nice for nice in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if scale * nice >= 0.26 * span)
    ticks = [round(place * step, 10) for place in range(-4, 5)]
    return [tick for tick in ticks if low + 0.1 * span <= tick <= high - 0.1 * span]


def _draw_difference(axes: Axes, row: int, place: int, shift: Shift) -> None:
    if shift.value is None:
        axes.text(0, row, "not defined", ha="center", va="center", fontsize=7, color=LIGHT["muted"])
        return
    colour, marker, _ = series_style(place)
    strong = shift.beyond
    if shift.low is not None and shift.high is not None:
        axes.plot(
            [shift.low, shift.high],
            [row, row],
            color=colour,
            linewidth=2.6 if strong else 1.0,
            alpha=1.0 if strong else 0.75,
            solid_capstyle="butt",
        )
    axes.plot(
        [shift.value],
        [row],
        color=colour,
        marker=marker,
        markersize=5.5 if strong else 4.5,
        markerfacecolor=colour if strong else LIGHT["panel"],
        gid=f"{'beyond' if strong else 'within'}-{place}",
    )
