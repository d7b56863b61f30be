"""Figures 2 to 4: where questions lie in entropy and mutual information, right answers over wrong ones."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, PathPatch
from matplotlib.path import Path as Outline
from matplotlib.ticker import MaxNLocator, NullLocator

from kvorum.report.figures.palette import HEAT, LIGHT
from kvorum.report.figures.sheet import Sheet

LEFT, TOP, BOTTOM, RIGHT = 1.12, 0.84, 0.52, 0.15
PANEL_WIDTH, PANEL_HEIGHT, GAP, ROW_GAP = 2.05, 1.5, 0.2, 0.3
HEADING, COLUMN_NAMES, BLOCK_GAP = 0.25, 0.42, 0.42
TICKS = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0)


@dataclass(frozen=True, kw_only=True, eq=False)
class Panel:
    """The questions of one histogram."""

    entropy: Float64[np.ndarray, "example"]
    mutual_information: Float64[np.ndarray, "example"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Block:
    """Rows of panels under a heading: a row each for right and wrong answers, a column an epoch (or a task)."""

    heading: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Panel, ...]], ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Bins:
    """The cells that all panels of a figure share: of equal width in entropy and in the root of mutual information."""

    entropy: Float64[np.ndarray, "edge_x"]
    mutual_information: Float64[np.ndarray, "edge_y"]


def bins_for(panels: Sequence[Panel]) -> Bins:
    """Cells that hold every question of the panels, finer the more questions the fullest panel has."""
    entropy = max((float(panel.entropy.max()) for panel in panels if len(panel.entropy)), default=0.0)
    information = max((float(panel.mutual_information.max()) for panel in panels if len(panel.entropy)), default=0.0)
    fullest = max((len(panel.entropy) for panel in panels), default=0)
    fineness = int(np.clip(round(3 * max(fullest, 1) ** (1 / 3)), 14, 36))
    entropy = max(0.1, math.ceil(entropy * 10 + 1e-9) / 10)
    # Where members agree to rounding, a scale that shows the rounding would look like disagreement.
    information = max(1e-3, information)
    return Bins(
        entropy=np.linspace(0, entropy, fineness + 1),
        mutual_information=np.linspace(0, math.sqrt(information), round(fineness * 0.7) + 1) ** 2,
    )


def count_cells(panel: Panel, bins: Bins) -> Int64[np.ndarray, "cell_x cell_y"]:
    """How many of the panel's questions lie in each cell; one at the very edge counts in the last cell."""
    counts, _, _ = np.histogram2d(
        np.clip(panel.entropy, 0, bins.entropy[-1]),
        np.clip(panel.mutual_information, 0, bins.mutual_information[-1]),
        bins=(bins.entropy, bins.mutual_information),
    )
    return counts.astype(np.int64)


def colour_steps(most: int) -> list[tuple[int, str]]:
    """The least count of each colour, and the colour's name, for counts from 1 to `most`."""
    lowest = np.unique(np.round(np.geomspace(1, max(most, 1), min(len(HEAT), max(most, 1)))).astype(int))
    chosen = np.round(np.linspace(0, len(HEAT) - 1, len(lowest))).astype(int) if len(lowest) > 1 else [3]
    return [(int(low), HEAT[step]) for low, step in zip(lowest, chosen, strict=True)]


def draw_histograms(blocks: Sequence[Block]) -> Sheet:
    """Blocks one under the other; all panels share their cells, scales and colours."""
    panels = [panel for block in blocks for _, row in block.rows for panel in row]
    bins = bins_for(panels)
    steps = colour_steps(max((int(count_cells(panel, bins).max()) for panel in panels), default=1))
    columns = max(len(block.columns) for block in blocks)
    heights = [_above(block) + len(block.rows) * (PANEL_HEIGHT + ROW_GAP) - ROW_GAP + BLOCK_GAP for block in blocks]
    # Three columns are the least that the key above the panels needs.
    width = LEFT + max(columns, 3) * (PANEL_WIDTH + GAP) - GAP + RIGHT
    sheet = Sheet(width, TOP + sum(heights) - BLOCK_GAP + BOTTOM)
    _draw_key(sheet, steps)
    top = TOP
    for number, (block, height) in enumerate(zip(blocks, heights, strict=True)):
        _draw_block(sheet, block, top, bins, steps, last=number == len(blocks) - 1)
        top += height
    middle = LEFT + (columns * (PANEL_WIDTH + GAP) - GAP) / 2
    sheet.text(middle, sheet.height - 0.14, "predictive entropy (nats)", "muted", ha="center")
    sheet.text(0.14, TOP + (sheet.height - TOP) / 2, "mutual information (nats)", "muted", ha="center", rotation=90)
    return sheet


def _draw_block(
    sheet: Sheet, block: Block, top: float, bins: Bins, steps: Sequence[tuple[int, str]], *, last: bool
) -> None:
    if block.heading:
        sheet.text(LEFT, top + 0.08, block.heading, weight="bold", fontsize=10)
    for row, (name, panels) in enumerate(block.rows):
        above = top + _above(block) + row * (PANEL_HEIGHT + ROW_GAP)
        sheet.text(0.45, above + PANEL_HEIGHT / 2, name, weight="bold", ha="center", rotation=90)
        for column, panel in enumerate(panels):
            left = LEFT + column * (PANEL_WIDTH + GAP)
            if row == 0:
                sheet.text(left, above - 0.3, block.columns[column], fontsize=8.5)
            count = len(panel.entropy)
            words = f"{count:,} question{'' if count == 1 else 's'}"
            sheet.text(left + PANEL_WIDTH, above - 0.09, words, "muted", ha="right", fontsize=7.5)
            axes = sheet.axes(left, above, PANEL_WIDTH, PANEL_HEIGHT)
            _draw_panel(axes, panel, bins, steps)
            axes.tick_params(labelleft=column == 0, labelbottom=last and row == len(block.rows) - 1)


def _above(block: Block) -> float:
    return COLUMN_NAMES + (HEADING if block.heading else 0)


def _draw_panel(axes: Axes, panel: Panel, bins: Bins, steps: Sequence[tuple[int, str]]) -> None:
    set_plane(axes, bins)
    if not len(panel.entropy):
        axes.text(0.5, 0.5, "none", transform=axes.transAxes, ha="center", va="center", color=LIGHT["muted"])
        return
    counts = count_cells(panel, bins)
    for number, (low, colour) in enumerate(steps):
        high = steps[number + 1][0] if number + 1 < len(steps) else counts.max() + 1
        cells = np.argwhere((counts >= low) & (counts < high))
        if len(cells):
            axes.add_artist(
                PathPatch(
                    _outline(cells, bins), facecolor=LIGHT[colour], edgecolor="none", zorder=2, gid=f"count-{low}"
                )
            )
    _draw_middle(axes, "mean", "D", float(panel.entropy.mean()), float(panel.mutual_information.mean()))
    _draw_middle(axes, "median", "o", float(np.median(panel.entropy)), float(np.median(panel.mutual_information)))


def _draw_middle(axes: Axes, name: str, marker: str, entropy: float, mutual_information: float) -> None:
    """A marker with a hairline to each axis, so that it reads where it lies on the bottom edge as well."""
    colour, dashes = LIGHT[name], "-" if name == "mean" else (0, (3, 2))
    axes.axvline(entropy, color=colour, linewidth=0.8, linestyle=dashes, zorder=3)
    axes.axhline(mutual_information, color=colour, linewidth=0.8, linestyle=dashes, zorder=3)
    axes.plot(
        [entropy],
        [mutual_information],
        marker=marker,
        # Where both lie on one spot the diamond's corners still show around the dot.
        markersize=7.5 if name == "mean" else 4.5,
        markerfacecolor=colour,
        markeredgecolor=LIGHT["halo"],
        markeredgewidth=0.8,
        linestyle="none",
        zorder=5 if name == "median" else 4,
        clip_on=False,
        gid=name,
    )


def _outline(cells: Int64[np.ndarray, "cell 2"], bins: Bins) -> Outline:
    """Cells as one path, runs of neighbours along entropy joined, so that the file stays small."""
    rectangles: list[list[tuple[float, float]]] = []
    ordered = cells[np.lexsort((cells[:, 0], cells[:, 1]))]
    start = 0
    for stop in range(1, len(ordered) + 1):
        joined = stop < len(ordered) and ordered[stop][1] == ordered[start][1]
        if joined and ordered[stop][0] == ordered[stop - 1][0] + 1:
            continue
        left, right = float(bins.entropy[ordered[start][0]]), float(bins.entropy[ordered[stop - 1][0] + 1])
        low, high = (float(edge) for edge in bins.mutual_information[ordered[start][1] :][:2])
        rectangles.append([(left, low), (right, low), (right, high), (left, high), (left, low)])
        start = stop
    return Outline.make_compound_path(*(Outline(corners, closed=True) for corners in rectangles))


def set_plane(axes: Axes, bins: Bins) -> None:
    """The scales of the plane: entropy as it is, mutual information by its root."""
    axes.set_yscale("function", functions=(lambda value: np.sqrt(np.maximum(value, 0)), np.square))
    highest = float(bins.mutual_information[-1])
    axes.set_xlim(0, float(bins.entropy[-1]))
    # Panels stand close: a number at the right edge would run into the next one's zero.
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, prune="upper"))
    axes.set_ylim(0, highest)
    axes.set_yticks(mutual_information_ticks(highest))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_locator(NullLocator())


def mutual_information_ticks(highest: float) -> list[float]:
    """Round values from 0 to the highest, those nearest to it first, that do not crowd on the root scale."""
    chosen: list[float] = []
    for tick in reversed(TICKS):
        roomy = all(math.sqrt(other) - math.sqrt(tick) >= 0.17 * math.sqrt(highest) for other in chosen)
        if tick <= highest and roomy:
            chosen.append(tick)
    return [0.0, *(tick for tick in reversed(chosen) if math.sqrt(tick) >= 0.17 * math.sqrt(highest))]


def _draw_key(sheet: Sheet, steps: Sequence[tuple[int, str]]) -> None:
    markers = [
        Line2D([], [], marker=marker, color=LIGHT[name], linestyle="none", markersize=size, label=name)
        for name, marker, size in (("mean", "D", 6.5), ("median", "o", 4.5))
    ]
    swatches = [
        Patch(
            facecolor=LIGHT[colour], label=_counts(low, steps[number + 1][0] - 1 if number + 1 < len(steps) else None)
        )
        for number, (low, colour) in enumerate(steps)
    ]
    how = {"frameon": False, "labelcolor": LIGHT["ink"], "borderaxespad": 0, "fontsize": 8.5, "handletextpad": 0.4}
    first = ((LEFT - 0.06) / sheet.width, 1 - 0.08 / sheet.height)
    second = ((LEFT + 1.28) / sheet.width, 1 - 0.38 / sheet.height)
    sheet.figure.legend(handles=markers, loc="upper left", bbox_to_anchor=first, ncols=2, **how)
    sheet.text(LEFT, 0.475, "questions in a cell:", "muted", fontsize=8.5)
    sheet.figure.legend(
        handles=swatches, loc="upper left", bbox_to_anchor=second, ncols=len(swatches), columnspacing=0.9, **how
    )


def _counts(low: int, high: int | None) -> str:
    if high is None:
        return f"{low} or more" if low > 1 else "1"
    return str(low) if low == high else f"{low}–{high}"
