"""Figure 10: the risk that is left when only the least doubted questions are answered, by score of doubt."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from kvorum.decisions.words import SCORE_WORDS
from kvorum.report.analysis import Studied
from kvorum.report.figures.palette import LIGHT
from kvorum.report.figures.sheet import Sheet
from kvorum.uncertainty.doubt import Doubt, doubt
from kvorum.uncertainty.selective import risk_coverage

LEFT, TOP, BOTTOM, RIGHT = 0.62, 0.5, 0.55, 0.15
PANEL_WIDTH, PANEL_HEIGHT, GAP = 2.7, 2.0, 0.55
BLOCK_HEADING, BLOCK_GAP = 0.5, 0.55
COLUMNS = 3
FIRST = 10
"""Questions; the risk of fewer jumps with each of them and is not drawn."""
STYLES: dict[Doubt, tuple[str, Any]] = {
    "one_minus_top": ("run-1", "-"),
    "predictive_entropy": ("run-2", "--"),
    "expected_entropy": ("run-3", "-."),
    "mutual_information": ("run-4", (0, (1, 1.2))),
}


def draw_risk(those: Sequence[Studied]) -> Sheet:
    """A panel a task at an epoch, those whose answers are known."""
    rows = -(-len(those) // COLUMNS)
    columns = min(COLUMNS, len(those))
    block = BLOCK_HEADING + PANEL_HEIGHT + BLOCK_GAP
    width = max(LEFT + columns * PANEL_WIDTH + (columns - 1) * GAP + RIGHT, 6.4)
    sheet = Sheet(width, TOP + rows * block - BLOCK_GAP + BOTTOM)
    _draw_key(sheet, calibrated=any(one.calibration for one in those))
    for number, one in enumerate(those):
        left = LEFT + number % COLUMNS * (PANEL_WIDTH + GAP)
        top = TOP + number // COLUMNS * block
        sheet.text(left, top + 0.14, f"{one.evaluation.title}, epoch {one.epoch}", weight="bold", fontsize=8.5)
        axes = sheet.axes(left, top + BLOCK_HEADING - 0.14, PANEL_WIDTH, PANEL_HEIGHT)
        _draw_curves(axes, one)
        axes.set_xlim(0, 1.02)
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        if number + columns >= len(those):
            below = top + BLOCK_HEADING - 0.14 + PANEL_HEIGHT + 0.38
            sheet.text(left + PANEL_WIDTH / 2, below, "answered", "muted", ha="center")
    sheet.text(
        0.14, TOP + (rows * block - BLOCK_GAP) / 2, "wrong among those answered", "muted", rotation=90, ha="center"
    )
    return sheet


def _draw_curves(axes: Axes, one: Studied) -> None:
    predictions = one.evaluation.predictions.select(examples=one.evaluation.predictions.labelled)
    wrong = ~predictions.correct
    for name, (colour, style) in STYLES.items():
        curve = risk_coverage(doubt(name, predictions.probs, predictions.rest), wrong)
        drawn = curve.coverage >= min(1.0, FIRST / len(wrong))
        axes.plot(
            curve.coverage[drawn],
            curve.risk[drawn],
            color=LIGHT[colour],
            linestyle=style,
            linewidth=1.4,
            gid=f"risk-{name}",
        )
    right = 1 - wrong.mean()
    beyond = np.linspace(right, 1, 50)
    axes.plot(
        [0, *beyond],
        [0, *((beyond - right) / np.maximum(beyond, 1e-9))],
        color=LIGHT["muted"],
        linewidth=1,
        gid="ideal",
    )
    if one.decided and one.decided["risk"]["value"] is not None:
        axes.plot(
            [one.decided["answered"]["value"]],
            [one.decided["risk"]["value"]],
            marker="D",
            markersize=6,
            color=LIGHT["mean"],
            markeredgecolor=LIGHT["halo"],
            linestyle="none",
            zorder=4,
            gid="calibrated",
        )


def _draw_key(sheet: Sheet, *, calibrated: bool) -> None:
    handles = [
        Line2D([], [], color=LIGHT[colour], linestyle=style, linewidth=1.4, label=SCORE_WORDS[name])
        for name, (colour, style) in STYLES.items()
    ]
    handles.append(Line2D([], [], color=LIGHT["muted"], linewidth=1, label="ideal"))
    if calibrated:
        handles.append(
            Line2D([], [], color=LIGHT["mean"], marker="D", markersize=6, linestyle="none", label="as calibrated")
        )
    sheet.figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=((LEFT - 0.08) / sheet.width, 1 - 0.08 / sheet.height),
        ncols=3 if sheet.width < 8 else len(handles),
        frameon=False,
        labelcolor=LIGHT["ink"],
        borderaxespad=0,
        columnspacing=1.4,
        fontsize=8.5,
    )
