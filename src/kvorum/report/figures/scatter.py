"""Figure 5: each question a dot in the plane of entropy and mutual information, epoch by epoch."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float64
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Outline
from matplotlib.transforms import Affine2D

from kvorum.report.analysis import Studied
from kvorum.report.figures.histograms import Bins, Panel, bins_for, set_plane
from kvorum.report.figures.palette import LIGHT
from kvorum.report.figures.sheet import Sheet, percent
from kvorum.uncertainty.plane import QUADRANTS, Cuts

LEFT, TOP, BOTTOM, RIGHT = 0.82, 0.5, 0.52, 0.15
PANEL_WIDTH, PANEL_HEIGHT, GAP = 2.1, 1.9, 0.2
HEADING, COLUMN_NAMES, BLOCK_GAP = 0.26, 0.42, 0.34
LEAST_COLUMNS = 3
"""What the key above the panels needs."""
POINTS = 72
"""An inch."""
STUB = 0.06
"""Of a panel's height, at least, is the line at the cut of entropy."""
SMALLEST, LARGEST = 1.3, 3.2
"""Of a dot, in points."""

Strokes = tuple[tuple[tuple[float, float], tuple[float, float]], ...]
MARKS: dict[str, Strokes] = {
    # Strokes of a mark, in its sizes. A right answer's is next to no length, so that its round ends make a dot.
    "right": (((0.0, 0.0), (0.02, 0.0)),),
    "wrong": (((-0.7, -0.7), (0.7, 0.7)), ((-0.7, 0.7), (0.7, -0.7))),
    "answer unknown": (((-0.8, 0.0), (0.8, 0.0)),),
}
STROKE = {"right": 1.0, "wrong": 0.42, "answer unknown": 0.5}
"""How thick a mark's strokes are, in its sizes."""


def draw_scatter(tasks: Sequence[Sequence[Studied]], epochs: Mapping[int, str]) -> Sheet:
    """A row a task, a column an epoch; all panels share their scales.

    `epochs` are the ones to draw, and what to call each; of a task at none of them the last is drawn.
    """
    rows = [[studied for studied in task if studied.epoch in epochs] or [task[-1]] for task in tasks]
    bins = bins_for([_panel(studied) for row in rows for studied in row])
    fullest = max(len(studied.quadrant) for row in rows for studied in row)
    size = float(np.clip(45 / np.sqrt(max(fullest, 1)), SMALLEST, LARGEST))
    columns = max(len(row) for row in rows)
    block = HEADING + COLUMN_NAMES + PANEL_HEIGHT + BLOCK_GAP
    width = LEFT + max(columns, LEAST_COLUMNS) * (PANEL_WIDTH + GAP) - GAP + RIGHT
    sheet = Sheet(width, TOP + len(rows) * block - BLOCK_GAP + BOTTOM)
    _draw_key(sheet, {outcome for row in rows for studied in row for outcome in _outcomes(studied)})
    for number, row in enumerate(rows):
        top = TOP + number * block
        sheet.text(LEFT, top + 0.1, row[0].evaluation.title, weight="bold", fontsize=10)
        for column, studied in enumerate(row):
            left, above = LEFT + column * (PANEL_WIDTH + GAP), top + HEADING + COLUMN_NAMES
            name = epochs.get(studied.epoch, f"epoch {studied.epoch}")
            sheet.text(left, above - 0.3, name, fontsize=8.5)
            # Not inside the panel, where it would hide dots.
            sheet.text(left + 0.01, above - 0.1, _shares(studied), "muted", fontsize=7)
            axes = sheet.axes(left, above, PANEL_WIDTH, PANEL_HEIGHT)
            _draw_panel(axes, studied, bins, size)
            axes.tick_params(labelleft=column == 0, labelbottom=number == len(rows) - 1)
    middle = LEFT + (columns * (PANEL_WIDTH + GAP) - GAP) / 2
    sheet.text(middle, sheet.height - 0.14, "predictive entropy (nats)", "muted", ha="center")
    sheet.text(0.14, TOP + (sheet.height - TOP) / 2, "mutual information (nats)", "muted", ha="center", rotation=90)
    return sheet


def _panel(studied: Studied) -> Panel:
    predictions = studied.evaluation.predictions
    return Panel(entropy=predictions.predictive_entropy, mutual_information=predictions.mutual_information)


def _outcomes(studied: Studied) -> dict[str, np.ndarray]:
    """Which questions are of each outcome; an outcome without any is left out."""
    evaluation = studied.evaluation
    chosen = {
        "right": evaluation.correct,
        "answer unknown": ~evaluation.predictions.labelled,
        "wrong": evaluation.wrong,
    }
    return {outcome: which for outcome, which in chosen.items() if which.any()}


def _draw_panel(axes: Axes, studied: Studied, bins: Bins, size: float) -> None:
    set_plane(axes, bins)
    panel = _panel(studied)
    places = np.stack(
        [
            np.clip(panel.entropy / bins.entropy[-1], 0, 1) * PANEL_WIDTH,
            np.sqrt(np.clip(panel.mutual_information / bins.mutual_information[-1], 0, 1)) * PANEL_HEIGHT,
        ],
        axis=1,
    )
    in_points = Affine2D().scale(1 / (PANEL_WIDTH * POINTS), 1 / (PANEL_HEIGHT * POINTS)) + axes.transAxes
    for outcome, which in _outcomes(studied).items():
        for number, quadrant in enumerate(QUADRANTS):
            chosen = places[which & (studied.quadrant == number)] * POINTS
            if len(chosen):
                # Not as a patch, of which every corner would be looked at for limits that are set already.
                axes.add_artist(
                    PathPatch(
                        strokes(chosen, MARKS[outcome], size),
                        fill=False,
                        edgecolor=LIGHT[quadrant],
                        linewidth=size * STROKE[outcome],
                        capstyle="round",
                        # Snapped to pixels, a right answer's stroke has no length, and is not drawn at all.
                        snap=False,
                        transform=in_points,
                        clip_on=False,
                        zorder=2,
                        gid=f"{quadrant}-{outcome}",
                    )
                )
    _draw_cuts(axes, studied.cuts)


def strokes(places: Float64[np.ndarray, "dot 2"], mark: Strokes, size: float) -> Outline:
    """A mark at each place, all as one path: of thousands, each as an element of its own would make a heavy page."""
    ends = places[:, None, None, :] + size * np.array(mark, dtype=np.float64)
    return Outline(ends.reshape(-1, 2), np.tile([Outline.MOVETO, Outline.LINETO], ends.size // 4))


def _draw_cuts(axes: Axes, cuts: Cuts) -> None:
    """Beneath the cut of mutual information entropy is cut as well; above it, it makes no difference."""
    how = {"color": LIGHT["ink"], "linewidth": 0.8, "zorder": 3}
    entropy, information = axes.get_xlim()[1], axes.get_ylim()[1]
    if cuts.mutual_information < information:
        axes.plot([0, entropy], [cuts.mutual_information] * 2, gid="cut-mutual-information", **how)
    if cuts.entropy < entropy:
        # Where members hardly disagree, what is beneath the cut has next to no height, but has its line.
        top = min(max(cuts.mutual_information, STUB**2 * information), information)
        axes.plot([cuts.entropy] * 2, [0, top], gid="cut-entropy", **how)


def _shares(studied: Studied) -> str:
    shares = [studied.shares[quadrant]["share"]["value"] for quadrant in QUADRANTS]
    return " · ".join(f"{percent(share or 0.0)} {quadrant}" for quadrant, share in zip(QUADRANTS, shares, strict=True))


def _draw_key(sheet: Sheet, outcomes: set[str]) -> None:
    handles = [
        Line2D([], [], marker="s", color=LIGHT[name], linestyle="none", markersize=7, label=name) for name in QUADRANTS
    ]
    signs = {"right": (".", 6, "right answer"), "wrong": ("x", 4.5, "wrong answer"), "answer unknown": ("_", 6, None)}
    for outcome, (marker, size, label) in signs.items():
        if outcome in outcomes:
            handles.append(
                Line2D(
                    [], [], marker=marker, color=LIGHT["ink"], linestyle="none", markersize=size, label=label or outcome
                )
            )
    sheet.figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=((LEFT - 0.06) / sheet.width, 1 - 0.1 / sheet.height),
        ncols=len(handles),
        frameon=False,
        labelcolor=LIGHT["ink"],
        borderaxespad=0,
        handletextpad=0.3,
        columnspacing=1.2,
        fontsize=8.5,
    )
