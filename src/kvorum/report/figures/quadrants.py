"""Figure 6: how many questions lie in each quadrant of the plane, and how often the ensemble is right there."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter

from kvorum.report.analysis import Studied
from kvorum.report.figures.curves import epoch_axis
from kvorum.report.figures.palette import LIGHT
from kvorum.report.figures.sheet import Sheet
from kvorum.uncertainty.plane import QUADRANTS

LEFT, TOP, BOTTOM, RIGHT = 0.62, 0.5, 0.52, 0.15
PANEL_WIDTH, PANEL_HEIGHT, GAP = 4.2, 1.75, 0.72
BLOCK_HEADING, BLOCK_GAP = 0.62, 0.42
FEWEST = 5
"""Questions with a known answer; of fewer, an accuracy is a matter of luck and is not drawn."""
ASIDE = 0.07
"""Epochs by which the quadrants' intervals stand beside each other."""


def draw_quadrants(tasks: Sequence[Sequence[Studied]]) -> Sheet:
    """A row a task: the quadrants' shares of its questions, and the accuracy in each with its 95% interval."""
    block = BLOCK_HEADING + PANEL_HEIGHT + BLOCK_GAP
    sheet = Sheet(LEFT + 2 * PANEL_WIDTH + GAP + RIGHT, TOP + len(tasks) * block - BLOCK_GAP + BOTTOM)
    _draw_key(sheet)
    for number, task in enumerate(tasks):
        top = TOP + number * block
        sheet.text(LEFT, top + 0.16, task[0].evaluation.title, weight="bold", fontsize=10)
        for column, (name, draw) in enumerate(
            (("share of all questions", _draw_shares), ("accuracy within each", _draw_accuracies))
        ):
            left = LEFT + column * (PANEL_WIDTH + GAP)
            sheet.text(left, top + BLOCK_HEADING - 0.13, name, fontsize=8.5)
            axes = sheet.axes(left, top + BLOCK_HEADING, PANEL_WIDTH, PANEL_HEIGHT)
            draw(axes, task)
            axes.set_ylim(0, 1.0 if column == 0 else 1.03)
            axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
            epoch_axis(axes, [studied.epoch for studied in task])
            if number == len(tasks) - 1:
                sheet.text(left + PANEL_WIDTH / 2, sheet.height - 0.14, "epoch", "muted", ha="center")
    return sheet


def _draw_shares(axes: Axes, task: Sequence[Studied]) -> None:
    """Stacked, confident ones at the bottom."""
    epochs = [studied.epoch for studied in task]
    below = np.zeros(len(task))
    for quadrant in QUADRANTS:
        share = np.array([studied.shares[quadrant]["share"]["value"] or 0.0 for studied in task])
        how = {"color": LIGHT[quadrant], "linewidth": 0, "gid": f"share-{quadrant}", "zorder": 2}
        if len(epochs) == 1:
            axes.bar(epochs, share, bottom=below, width=0.15, **how)
        else:
            axes.fill_between(epochs, below, below + share, **how)
            axes.plot(epochs, below + share, color=LIGHT["paper"], linewidth=1, zorder=3, gid=f"top-{quadrant}")
        below = below + share
    # Shares hide the grid; the epochs are where they were counted.
    axes.vlines(epochs, 0, 1, color=LIGHT["paper"], linewidth=0.7, alpha=0.5, zorder=3)


def _draw_accuracies(axes: Axes, task: Sequence[Studied]) -> None:
    epochs = np.array([studied.epoch for studied in task])
    for number, quadrant in enumerate(QUADRANTS):
        found = [_accuracy(studied, number) for studied in task]
        value, low, high = (np.array(part) for part in zip(*found, strict=True))
        axes.errorbar(
            epochs + (number - 1) * ASIDE,
            value,
            yerr=tuple(np.nan_to_num(np.maximum(aside, 0)) for aside in (value - low, high - value)),
            color=LIGHT[quadrant],
            linewidth=1.6,
            elinewidth=1.1,
            capsize=2,
            marker="o",
            markersize=4,
            zorder=3,
            gid=f"accuracy-{quadrant}",
        )
    chance = task[-1].evaluation.chance
    if np.isfinite(chance):
        axes.axhline(chance, color=LIGHT["muted"], linewidth=1, linestyle=":", gid="chance")
    else:
        axes.text(0.5, 0.5, "no known answers", transform=axes.transAxes, ha="center", color=LIGHT["muted"])


def _accuracy(studied: Studied, quadrant: int) -> tuple[float, float, float]:
    """With its interval; nan where too few answers are known."""
    known = int(((studied.quadrant == quadrant) & studied.evaluation.predictions.labelled).sum())
    number = studied.shares[QUADRANTS[quadrant]]["accuracy"]
    if known < FEWEST or number["value"] is None:
        return float("nan"), float("nan"), float("nan")
    value = float(number["value"])
    low, high = (value if number[part] is None else float(number[part]) for part in ("low", "high"))
    return value, low, high


def _draw_key(sheet: Sheet) -> None:
    handles = [Patch(facecolor=LIGHT[quadrant], label=quadrant) for quadrant in QUADRANTS]
    guessing = Line2D([], [], color=LIGHT["muted"], linewidth=1, linestyle=":", label="guessing")
    sheet.figure.legend(
        handles=[*handles, guessing],
        loc="upper left",
        bbox_to_anchor=((LEFT - 0.08) / sheet.width, 1 - 0.1 / sheet.height),
        ncols=len(handles) + 1,
        frameon=False,
        labelcolor=LIGHT["ink"],
        borderaxespad=0,
        columnspacing=1.4,
        fontsize=8.5,
    )
