"""Figure 8: how far answers have moved from the pre-trained model's, by quadrant of the plane."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from kvorum.report.analysis import Studied
from kvorum.report.figures.curves import ROOM, epoch_axis
from kvorum.report.figures.palette import LIGHT
from kvorum.report.figures.sheet import Sheet
from kvorum.uncertainty.plane import QUADRANTS

LEFT, TOP, BOTTOM, RIGHT = 0.62, 0.5, 0.52, 0.15
PANEL_WIDTH, PANEL_HEIGHT, GAP = 2.75, 1.75, 0.62
BLOCK_HEADING, BLOCK_GAP = 0.62, 0.42
FEWEST = 5
"""Questions; the mean of fewer is a matter of luck and is not drawn."""
ASIDE = 0.03
"""Inches by which the groups' intervals stand beside each other."""
NOTHING = (float("nan"), float("nan"), float("nan"))
GROUPS = ("all", *QUADRANTS)
MARKERS = {"all": None, "confident": "o", "torn": "s", "disputed": "^"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Measure:
    """A mean over questions, the least span of its axis, and the most it can be."""

    key: str
    name: str
    span: float
    highest: float


MEASURES = (
    Measure(key="kl", name="KL from the pre-trained model (nats)", span=0.02, highest=float("inf")),
    Measure(key="tv", name="total variation from the pre-trained model", span=0.05, highest=1.0),
    Measure(key="same_answer", name="share that keeps the pre-trained answer", span=0.1, highest=1.0),
)


def draw_movement(tasks: Sequence[Sequence[Studied]]) -> Sheet:
    """A row of three panels a task; in each a line a quadrant and one for all questions, with 95% intervals."""
    block = BLOCK_HEADING + PANEL_HEIGHT + BLOCK_GAP
    width = LEFT + len(MEASURES) * (PANEL_WIDTH + GAP) - GAP + RIGHT
    sheet = Sheet(width, TOP + len(tasks) * block - BLOCK_GAP + BOTTOM)
    _draw_key(sheet)
    for number, task in enumerate(tasks):
        top = TOP + number * block
        sheet.text(LEFT, top + 0.16, task[0].evaluation.title, weight="bold", fontsize=10)
        told = [studied for studied in task if studied.change is not None]
        for column, measure in enumerate(MEASURES):
            left = LEFT + column * (PANEL_WIDTH + GAP)
            sheet.text(left, top + BLOCK_HEADING - 0.13, measure.name, fontsize=8.5)
            axes = sheet.axes(left, top + BLOCK_HEADING, PANEL_WIDTH, PANEL_HEIGHT)
            _draw_panel(axes, told, measure)
            epoch_axis(axes, [studied.epoch for studied in told])
            if number == len(tasks) - 1:
                sheet.text(left + PANEL_WIDTH / 2, sheet.height - 0.14, "epoch", "muted", ha="center")
    return sheet


def _draw_panel(axes: Axes, task: Sequence[Studied], measure: Measure) -> None:
    epochs = np.array([studied.epoch for studied in task])
    aside = ASIDE * (epochs[-1] - epochs[0] + 2 * ROOM) / PANEL_WIDTH
    highest, lowest = 0.0, measure.highest
    for number, group in enumerate(GROUPS):
        found = np.array([_mean(studied, group, measure.key) for studied in task])
        value, low, high = found.T
        axes.errorbar(
            epochs + (number - 1.5) * aside,
            value,
            yerr=tuple(np.nan_to_num(np.maximum(arm, 0)) for arm in (value - low, high - value)),
            color=LIGHT[colour_of(group)],
            linewidth=1.6,
            linestyle=(0, (4, 2)) if group == "all" else "-",
            elinewidth=1.1,
            capsize=2,
            marker=MARKERS[group] or ".",
            markersize=4,
            zorder=3,
            # Zero and one are met exactly, and a mark cut in half there would look like less.
            clip_on=False,
            gid=f"{measure.key}-{group}",
        )
        highest = max([highest, *found[np.isfinite(found)]])
        lowest = min([lowest, *found[np.isfinite(found)]])
    _set_limits(axes, measure, lowest, highest)


def _set_limits(axes: Axes, measure: Measure, lowest: float, highest: float) -> None:
    """From zero, where nothing has moved; for answers kept, that is all of them."""
    if measure.key == "same_answer":
        axes.set_ylim(max(0.0, min(lowest - 0.05, 1 - measure.span)), 1.0)
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    else:
        axes.set_ylim(0, min(max(highest * 1.05, measure.span), measure.highest))


def _mean(studied: Studied, group: str, key: str) -> tuple[float, float, float]:
    """With its interval; nan of a quadrant with too few questions."""
    assert studied.change is not None
    of = studied.change.movement[group]
    number = of[key]
    if number["value"] is None or (group != "all" and of["questions"] < FEWEST):
        return NOTHING
    value = float(number["value"])
    low, high = (value if number[part] is None else float(number[part]) for part in ("low", "high"))
    return value, low, high


def colour_of(group: str) -> str:
    """The palette's name for a quadrant, or for all questions."""
    return "ink" if group == "all" else group


def _draw_key(sheet: Sheet) -> None:
    handles = [
        Line2D(
            [],
            [],
            color=LIGHT[colour_of(group)],
            linewidth=1.6,
            linestyle=(0, (4, 2)) if group == "all" else "-",
            marker=MARKERS[group] or ".",
            markersize=4,
            label="all questions" if group == "all" else group,
        )
        for group in GROUPS
    ]
    sheet.figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=((LEFT - 0.08) / sheet.width, 1 - 0.1 / sheet.height),
        ncols=len(handles),
        frameon=False,
        labelcolor=LIGHT["ink"],
        borderaxespad=0,
        columnspacing=1.4,
        fontsize=8.5,
    )
