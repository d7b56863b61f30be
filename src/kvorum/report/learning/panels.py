"""What the figures of an experiment share: panels over labels, lines of functions, bands, limits."""

import math
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Float64
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from kvorum.report.figures.palette import LIGHT
from kvorum.report.figures.series import LEGEND_ROW, draw_legend, legend_rows, series_style, short
from kvorum.report.figures.sheet import Sheet
from kvorum.report.learning.estimate import Estimate

LEFT, RIGHT, BOTTOM = 0.62, 0.15, 0.5
WIDTH = 10.9
"""Inches of a figure."""
GAP = 0.6
MOST_COLUMNS = 4
Numbers = Float64[np.ndarray, "round"]


def sheet_with_legend(names: Sequence[str], height: float) -> tuple[Sheet, float]:
    """A sheet with a legend of the functions over `height` inches of panels, and where these begin."""
    names = [short(name) for name in names]
    rows = legend_rows(names, LEFT, WIDTH - RIGHT)
    top = LEGEND_ROW * (len(rows) + 1) + 0.08
    sheet = Sheet(WIDTH, top + height)
    draw_legend(sheet, names, rows)
    return sheet, top


def panel_width(columns: int) -> float:
    """Of each of several panels side by side."""
    return (WIDTH - LEFT - RIGHT - GAP * (columns - 1)) / columns


def columns_for(panels: int) -> int:
    """How many panels stand side by side, the rows of about the same length."""
    return max(2, math.ceil(panels / math.ceil(panels / MOST_COLUMNS)))


def left_of(column: int, columns: int) -> float:
    """Where a panel begins."""
    return LEFT + column * (panel_width(columns) + GAP)


def numbers(estimates: Iterable[Estimate | None], part: str) -> Numbers:
    """A part of each estimate, nan where there is none."""
    values = [None if of is None else getattr(of, part) for of in estimates]
    return np.array([np.nan if value is None else value for value in values], float)


def draw_series(axes: Axes, labels: Sequence[int], estimates: Sequence[Estimate], place: int) -> None:
    """The mean over seeds over a band from the least to the greatest of them."""
    colour, marker, line = series_style(place)
    least, greatest = numbers(estimates, "least"), numbers(estimates, "greatest")
    if len(labels) > 1:
        axes.fill_between(labels, least, greatest, color=colour, alpha=0.13, linewidth=0, gid=f"band-{place}")
    else:
        axes.vlines(labels, least, greatest, color=colour, alpha=0.35, linewidth=4, gid=f"band-{place}")
    axes.plot(
        labels,
        numbers(estimates, "value"),
        color=colour,
        linestyle=line,
        marker=marker,
        markersize=4,
        linewidth=1.6,
        zorder=3 - 0.01 * place,
        gid=f"function-{place}",
    )


def labels_axis(axes: Axes, labels: Iterable[int]) -> None:
    """Ticks at round numbers of labels, with room at either end."""
    ends = sorted(set(labels))
    room = 0.03 * (ends[-1] - ends[0]) or 1.0
    axes.set_xlim(ends[0] - room, ends[-1] + room)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True))


def limit(
    axes: Axes, values: Iterable[np.ndarray], span: float, *, lowest: float = -np.inf, highest: float = np.inf
) -> None:
    """The vertical axis around values, of this span at least, so that noise does not look like news."""
    known = np.concatenate([value[np.isfinite(value)] for value in values] or [np.zeros(0)])
    if not known.size:
        axes.text(0.5, 0.5, "no known answers", transform=axes.transAxes, ha="center", color=LIGHT["muted"])
        axes.set_yticks([])
        return
    low, high = float(known.min()), float(known.max())
    short_of = max(0.0, span - (high - low)) / 2
    low, high = low - short_of, high + short_of
    room = 0.06 * (high - low)
    # A little beyond the ends that there can be, so that marks upon them are whole.
    axes.set_ylim(max(low - room, lowest - room), min(high + room, highest + room))
