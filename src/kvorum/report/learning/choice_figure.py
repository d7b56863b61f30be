"""The figure of what was chosen: of each function, the share of each part of the pool, round by round."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from kvorum.report.figures.palette import HEAT, LIGHT
from kvorum.report.figures.series import LEGEND_ROW, LETTER, short
from kvorum.report.figures.sheet import Sheet, percent
from kvorum.report.learning.analyse import Learning
from kvorum.report.learning.chosen import Chosen
from kvorum.report.learning.panels import LEFT, WIDTH, columns_for, left_of, panel_width

HIGH, BETWEEN = 1.5, 0.75
HATCHES = ("////", "\\\\\\\\", "....", "xxxx")


@dataclass(frozen=True, slots=True)
class Look:
    """Of a part of the pool."""

    colour: str
    hatch: str | None = None


def draw_chosen(learning: Learning) -> Sheet | None:
    """A panel a function; None where nothing is chosen yet."""
    chosen = [(function.name, function.chosen) for function in learning.functions if function.chosen]
    if not chosen:
        return None
    columns = columns_for(len(chosen))
    # Noise lies lowest, so that its share is read off the axis and beside the line of its share of the pool.
    parts = sorted(range(len(learning.parts)), key=lambda place: not learning.parts[place].noise)
    looks = _looks(learning, parts)
    rows = _legend_rows(learning, parts)
    start = LEGEND_ROW * (len(rows) + 1) + 0.3
    sheet = Sheet(WIDTH, start + math.ceil(len(chosen) / columns) * (HIGH + BETWEEN) - 0.1)
    _draw_legend(sheet, rows, looks)
    noise = sum(part.share for part in learning.parts if part.noise)
    for position, (name, of) in enumerate(chosen):
        line, column = divmod(position, columns)
        left, top = left_of(column, columns), start + line * (HIGH + BETWEEN)
        sheet.text(left, top - 0.13, short(name), weight="bold")
        axes = sheet.axes(left, top, panel_width(columns), HIGH)
        _draw_shares(axes, of, parts, looks, learning.config.rounds)
        if 0 < noise < 1:
            axes.axhline(noise, color=LIGHT["ink"], linewidth=1.3, linestyle=(0, (3, 2)), zorder=5, gid="noise")
        if position + columns >= len(chosen):
            sheet.text(left + panel_width(columns) / 2, top + HIGH + 0.34, "round", "muted", ha="center")
    return sheet


def _looks(learning: Learning, parts: Sequence[int]) -> dict[int, Look]:
    """Noise is grey and hatched, the others are ever darker."""
    true = [place for place in parts if not learning.parts[place].noise]
    steps = np.linspace(1, len(HEAT) - 2, len(true)) if len(true) > 1 else [3]
    looks = {place: Look(LIGHT[HEAT[round(step)]]) for place, step in zip(true, steps, strict=True)}
    noise = [place for place in parts if learning.parts[place].noise]
    return looks | {
        place: Look(LIGHT["never-known"], HATCHES[number % len(HATCHES)]) for number, place in enumerate(noise)
    }


def _draw_shares(axes: Axes, chosen: Chosen, parts: Sequence[int], looks: Mapping[int, Look], rounds: int) -> None:
    numbers = [each.round for each in chosen.rounds]
    below = np.zeros(len(numbers))
    for place in parts:
        share = np.array([each.shares[place] for each in chosen.rounds])
        look = looks[place]
        axes.bar(
            numbers,
            share,
            0.86,
            bottom=below,
            facecolor=look.colour,
            edgecolor=LIGHT["panel"],
            hatch=look.hatch,
            linewidth=0.6,
            gid=f"part-{place}",
        )
        below += share
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 0.5, 1], ["0%", "50%", "100%"])
    axes.grid(visible=False)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
    axes.set_xlim(0.5, rounds + 0.5)


def _legend_rows(learning: Learning, parts: Sequence[int]) -> list[list[tuple[float, int, str]]]:
    """From the top of a bar downwards: where each part's entry begins, in inches, and its words."""
    rows: list[list[tuple[float, int, str]]] = [[]]
    left = LEFT
    for place in reversed(parts):
        part = learning.parts[place]
        words = f"{short(part.part)}{' (noise)' if part.noise else ''}, {percent(part.share)} of the pool"
        wide = 0.6 + LETTER * len(words)
        if rows[-1] and left + wide > WIDTH:
            rows.append([])
            left = LEFT
        rows[-1].append((left, place, words))
        left += wide
    return rows


def _draw_legend(sheet: Sheet, rows: Sequence[Sequence[tuple[float, int, str]]], looks: Mapping[int, Look]) -> None:
    for number, row in enumerate(rows):
        top = LEGEND_ROW * (1 + number)
        for left, place, words in row:
            swatch = Rectangle(
                (left / sheet.width, 1 - (top + 0.065) / sheet.height),
                0.28 / sheet.width,
                0.13 / sheet.height,
                transform=sheet.figure.transFigure,
                facecolor=looks[place].colour,
                edgecolor=LIGHT["panel"],
                hatch=looks[place].hatch,
                linewidth=0.6,
            )
            sheet.figure.add_artist(swatch)
            sheet.text(left + 0.36, top, words)
