"""Figure 9: how different the members are from each other, by epoch, and which of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64
from matplotlib.axes import Axes
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path as Outline
from matplotlib.ticker import FixedLocator, NullLocator, PercentFormatter

from kvorum.report.analysis import Studied
from kvorum.report.figures.curves import ROOM, epoch_axis
from kvorum.report.figures.palette import HEAT, LIGHT, RUNS
from kvorum.report.figures.sheet import Sheet, printable
from kvorum.uncertainty.diversity import COLLAPSED, pairwise_disagreement

LEFT, BOTTOM, RIGHT = 0.62, 0.52, 0.15
PANEL_WIDTH, PANEL_HEIGHT, GAP = 2.55, 2.6, 0.62
KEY_LINE, KEY_COLUMNS, NAMES = 0.24, 3, 0.42
MATRIX, MATRIX_GAP, SCALE = 2.6, 0.55, 0.62
"""Inches: the matrix's side, the gap before it, and the room for its colours' meaning to its right."""
WRITTEN = 8
"""Members; in the cells of more, the shares would not be legible."""
ASIDE = 0.04
"""Inches by which the tasks' intervals stand beside each other."""
NOTHING = (float("nan"), float("nan"), float("nan"))
MARKERS = ("o", "s", "^", "D", "v", "P")
DASHES = ("-", (0, (4, 2)), (0, (1, 1.2)))
WIDTHS = (0.01, 0.02, 0.05, 0.1, 0.2)
"""Of a step of colour, in shares of questions; the first that needs no more colours than there are is taken, so that
a hundredth of difference does not look like more than it is."""
LINEAR = COLLAPSED / 10
"""Nats. Below, the scale of KL is linear, so that it reaches the zero that epoch 0 has."""


def draw_diversity(tasks: Sequence[Sequence[Studied]]) -> Sheet:
    """A line a task of mean disagreement and mean KL of two members; and who disagrees with whom on the first task."""
    lines = -(-(len(tasks) + 1) // KEY_COLUMNS)
    top = 0.1 + lines * KEY_LINE + NAMES
    panels = 2 * PANEL_WIDTH + GAP
    sheet = Sheet(LEFT + panels + MATRIX_GAP + MATRIX + SCALE + RIGHT, top + PANEL_HEIGHT + BOTTOM)
    _draw_key(sheet, tasks)
    for column, (key, name) in enumerate(
        (("disagreement", "mean disagreement of two members"), ("kl", "mean KL of two members (nats)"))
    ):
        left = LEFT + column * (PANEL_WIDTH + GAP)
        sheet.text(left, top - 0.13, name, fontsize=8.5)
        axes = sheet.axes(left, top, PANEL_WIDTH, PANEL_HEIGHT)
        _draw_lines(axes, tasks, key)
        sheet.text(left + PANEL_WIDTH / 2, sheet.height - 0.14, "epoch", "muted", ha="center")
    several = [studied for studied in tasks[0] if len(studied.evaluation.members) > 1]
    if several:
        _draw_matrix(sheet, several[-1], LEFT + panels + MATRIX_GAP, top)
    return sheet


def _draw_lines(axes: Axes, tasks: Sequence[Sequence[Studied]], key: str) -> None:
    epochs = sorted({studied.epoch for task in tasks for studied in task})
    aside = ASIDE * (epochs[-1] - epochs[0] + 2 * ROOM) / PANEL_WIDTH
    highest = 0.0
    for number, task in enumerate(tasks):
        found = np.array([_interval(studied, key) for studied in task])
        value, low, high = found.T
        axes.errorbar(
            np.array([studied.epoch for studied in task])
            + (number - (len(tasks) - 1) / 2) * aside / max(1, len(tasks) / 4),
            value,
            yerr=tuple(np.nan_to_num(np.maximum(arm, 0)) for arm in (value - low, high - value)),
            linewidth=1.6,
            elinewidth=1.1,
            capsize=2,
            markersize=4,
            zorder=3,
            clip_on=False,
            gid=f"{key}-{number}",
            **_look(number),
        )
        highest = max([highest, *found[np.isfinite(found)]])
    epoch_axis(axes, epochs)
    if key == "kl":
        _kl_axis(axes, highest)
    else:
        axes.set_ylim(0, min(1.0, max(highest * 1.05, 0.1)))
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))


def _kl_axis(axes: Axes, highest: float) -> None:
    """Logarithmic down to a tenth of the threshold, so that collapsed members and lively ones both have room."""
    axes.set_yscale("symlog", linthresh=LINEAR, linscale=0.5)
    top = 10.0 ** np.ceil(np.log10(max(highest * 1.05, 0.1)))
    axes.set_ylim(0, max(highest * 1.2, 0.1))
    axes.yaxis.set_major_locator(FixedLocator([0.0, *np.geomspace(LINEAR, top, round(np.log10(top / LINEAR)) + 1)]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(
        lambda value, _: f"{value:.4f}".rstrip("0").rstrip(".") if value < 1 else f"{value:g}"
    )
    axes.axhline(COLLAPSED, color=LIGHT["mean"], linewidth=1.2, linestyle=":", gid="collapsed", zorder=2)


def _interval(studied: Studied, key: str) -> tuple[float, float, float]:
    """A mean over pairs with its interval; nan for one member."""
    if studied.diversity is None or studied.diversity[key]["value"] is None:
        return NOTHING
    number = studied.diversity[key]
    value = float(number["value"])
    low, high = (value if number[part] is None else float(number[part]) for part in ("low", "high"))
    return value, low, high


def _look(number: int) -> dict[str, Any]:
    """Colour and marker of a task; from the seventh on they come again, with other dashes."""
    return {
        "color": LIGHT[RUNS[number % len(RUNS)]],
        "marker": MARKERS[number % len(MARKERS)],
        "linestyle": DASHES[number // len(RUNS) % len(DASHES)],
    }


def _draw_key(sheet: Sheet, tasks: Sequence[Sequence[Studied]]) -> None:
    """In columns, and not as a legend, which would read names as mathematics."""
    lines = -(-(len(tasks) + 1) // KEY_COLUMNS)
    width, height = sheet.width - LEFT, lines * KEY_LINE
    axes = sheet.axes(LEFT, 0.1, width, height)
    axes.set_axis_off()
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    names = [printable(task[0].evaluation.title, limit=42) for task in tasks]
    threshold: dict[str, Any] = {"color": LIGHT["mean"], "linestyle": ":"}
    for number, name in enumerate([*names, "below this the members have collapsed"]):
        column, line = number % KEY_COLUMNS, number // KEY_COLUMNS
        left, place = column * width / KEY_COLUMNS, (line + 0.5) * KEY_LINE
        look = _look(number) if number < len(names) else threshold
        axes.plot((left, left + 0.15, left + 0.3), (place,) * 3, linewidth=1.6, markersize=4, markevery=[1], **look)
        sheet.text(LEFT + left + 0.4, 0.1 + place, name)


def _draw_matrix(sheet: Sheet, studied: Studied, left: float, top: float) -> None:
    """A row and a column a member; in a small ensemble the share itself stands in each cell."""
    shares, members = pairwise_disagreement(studied.evaluation.predictions.probs), studied.evaluation.members
    count = len(members)
    title = f"disagreement by pair: {printable(studied.task, limit=18)}, epoch {studied.epoch}"
    sheet.text(left, top - 0.13, title, fontsize=8.5)
    axes = sheet.axes(left, top, MATRIX, MATRIX)
    axes.set_xlim(-0.5, count - 0.5)
    axes.set_ylim(count - 0.5, -0.5)
    axes.grid(visible=False)
    others = shares[~np.eye(count, dtype=bool)]
    steps = colour_steps(float(others.min()), float(others.max()))
    colours = np.array([[_colour(share, steps) for share in row] for row in shares])
    for _, colour in steps:
        cells = [(row, column) for row, column in np.argwhere(colours == colour).tolist() if row != column]
        if cells:
            path = Outline.make_compound_path(*(_cell(row, column) for row, column in cells))
            axes.add_patch(PathPatch(path, facecolor=LIGHT[colour], edgecolor="none", gid=colour, zorder=2))
    if count <= WRITTEN:
        _write_shares(axes, shares, colours)
    _number_members(axes, members)
    sheet.text(left + MATRIX / 2, sheet.height - 0.14, "member", "muted", ha="center")
    if len(steps) > 1 or count > WRITTEN:
        _draw_scale(sheet, steps, left + MATRIX + 0.12, top)


def colour_steps(low: float, high: float) -> list[tuple[float, str]]:
    """The least share of each colour, and the colour's name, for shares from `low` to `high`; steps of round width."""
    width = next(width for width in WIDTHS if _step(high, width) - _step(low, width) < len(HEAT))
    first = _step(low, width)
    count = _step(high, width) - first + 1
    chosen = np.round(np.linspace(0, len(HEAT) - 1, count)).astype(int) if count > 1 else [2]
    return [((first + number) * width, HEAT[step]) for number, step in enumerate(chosen)]


def _step(share: float, width: float) -> int:
    """How many whole steps a share is; rounding must not take one away."""
    return int(np.floor(share / width + 1e-9))


def _colour(share: float, steps: Sequence[tuple[float, str]]) -> str:
    return [colour for low, colour in steps if share >= low - 1e-9 or low == steps[0][0]][-1]


def _cell(row: int, column: int) -> Outline:
    left, right, above, below = column - 0.5, column + 0.5, row - 0.5, row + 0.5
    return Outline([(left, above), (right, above), (right, below), (left, below), (left, above)], closed=True)


def _write_shares(axes: Axes, shares: Float64[np.ndarray, "member member"], colours: np.ndarray) -> None:
    for row, column in np.argwhere(~np.eye(len(shares), dtype=bool)).tolist():
        # The stronger half of the colours is far from the surroundings, on light and on dark.
        strong = HEAT.index(colours[row, column]) >= len(HEAT) // 2
        words = PercentFormatter(1, decimals=0).format_pct(shares[row, column], 1)
        axes.text(column, row, words, ha="center", va="center", fontsize=7.5, color=LIGHT["halo" if strong else "ink"])


def _number_members(axes: Axes, members: Sequence[int]) -> None:
    """Every member's number, as long as they are not too many to read."""
    places = range(0, len(members), -(-len(members) // 20))
    size = 8 if len(members) <= 10 else 6
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(list(places), [str(members[place]) for place in places], fontsize=size)
    axes.tick_params(length=0, pad=2)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _draw_scale(sheet: Sheet, steps: Sequence[tuple[float, str]], left: float, top: float) -> None:
    """What the colours mean, the greatest share uppermost."""
    height = 0.2
    axes = sheet.axes(left, top, 0.16, len(steps) * height)
    axes.set_axis_off()
    axes.set_xlim(0, 1)
    axes.set_ylim(len(steps), 0)
    for place, (low, colour) in enumerate(reversed(steps)):
        axes.add_patch(Rectangle((0, place), 1, 1, facecolor=LIGHT[colour], edgecolor="none"))
        sheet.text(left + 0.22, top + (place + 0.5) * height, f"≥ {low:.0%}", "muted", fontsize=7.5)
