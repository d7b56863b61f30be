"""Lines that are told apart by colour, marker and dashes, and a legend of them in as many rows as they take."""

from collections.abc import Sequence
from typing import Literal

from matplotlib.lines import Line2D

from kvorum.report.figures.palette import LIGHT, RUNS
from kvorum.report.figures.sheet import Sheet, printable

MARKERS = ("o", "s", "^", "D", "v", "P")
NAME_LIMIT = 30
LETTER = 0.075
"""Inches that a letter takes in a legend, a little generously."""
LEGEND_ROW = 0.22
"""Inches from one row of a legend to the next, and from the top of the figure to the first."""


def series_style(place: int) -> tuple[str, str, Literal["-", "--"]]:
    """Colour, marker and line of a series; beyond the sixth they come again, dashed."""
    return LIGHT[RUNS[place % len(RUNS)]], MARKERS[place % len(MARKERS)], "-" if place < len(RUNS) else "--"


def short(name: str) -> str:
    """A name fit for a legend."""
    return printable(name, NAME_LIMIT)


def legend_rows(names: Sequence[str], start: float, end: float) -> list[list[tuple[float, int]]]:
    """For each row of a legend between `start` and `end`, the series in it and where they begin, in inches."""
    rows: list[list[tuple[float, int]]] = [[]]
    left = start
    for place, name in enumerate(names):
        wide = 0.55 + LETTER * len(name)
        if rows[-1] and left + wide > end:
            rows.append([])
            left = start
        rows[-1].append((left, place))
        left += wide
    return rows


def draw_legend(sheet: Sheet, names: Sequence[str], rows: Sequence[Sequence[tuple[float, int]]]) -> None:
    """The names at the top of a figure, laid out as `legend_rows` says."""
    # By hand: matplotlib's legend leaves out names that begin with an underscore, and reads $ as mathematics.
    for number, row in enumerate(rows):
        top = LEGEND_ROW * (1 + number)
        for left, place in row:
            colour, marker, line = series_style(place)
            ends = [left / sheet.width, (left + 0.15) / sheet.width, (left + 0.3) / sheet.width]
            across = [1 - top / sheet.height] * 3
            handle = Line2D(
                ends, across, color=colour, marker=marker, markevery=[1], markersize=4.5, linewidth=1.6, linestyle=line
            )
            sheet.figure.add_artist(handle)
            sheet.text(left + 0.38, top, names[place])
