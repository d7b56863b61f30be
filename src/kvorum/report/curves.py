"""Figure 1: accuracy, NLL and calibration error against epoch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from kvorum.report.evaluations import Evaluation
from kvorum.report.palette import LIGHT
from kvorum.report.sheet import Sheet

LEFT, TOP, BOTTOM = 0.62, 0.5, 0.52
PANEL_WIDTH, PANEL_HEIGHT, GAP = 2.75, 1.75, 0.62
BLOCK_HEADING, BLOCK_GAP = 0.62, 0.42


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """A number drawn against epoch, and the least span of its axis, so that noise does not look like news."""

    key: str
    name: str
    span: float
    highest: float


METRICS = (
    Metric(key="accuracy", name="accuracy", span=0.1, highest=1.0),
    Metric(key="nll", name="NLL (nats)", span=0.2, highest=float("inf")),
    Metric(key="ece", name="calibration error (ECE)", span=0.05, highest=1.0),
)


def draw_curves(tasks: Sequence[Sequence[Evaluation]]) -> Sheet:
    """A block of three panels a task: the ensemble with its 95% interval, each member, and the members' average."""
    block = BLOCK_HEADING + PANEL_HEIGHT + BLOCK_GAP
    width = LEFT + len(METRICS) * (PANEL_WIDTH + GAP) - GAP + 0.15
    sheet = Sheet(width, TOP + len(tasks) * block - BLOCK_GAP + BOTTOM)
    _legend(sheet)
    for number, evaluations in enumerate(tasks):
        top = TOP + number * block
        sheet.text(LEFT, top + 0.16, evaluations[0].title, weight="bold", fontsize=10)
        for column, metric in enumerate(METRICS):
            left = LEFT + column * (PANEL_WIDTH + GAP)
            sheet.text(left, top + BLOCK_HEADING - 0.13, metric.name, "muted", fontsize=8.5)
            axes = sheet.axes(left, top + BLOCK_HEADING, PANEL_WIDTH, PANEL_HEIGHT)
            _draw_panel(axes, evaluations, metric)
            if number == len(tasks) - 1:
                sheet.text(left + PANEL_WIDTH / 2, sheet.height - 0.14, "epoch", "muted", ha="center")
    return sheet


def _draw_panel(axes: Axes, evaluations: Sequence[Evaluation], metric: Metric) -> None:
    epochs = [evaluation.epoch for evaluation in evaluations]
    members = sorted({member for evaluation in evaluations for member in evaluation.members})
    # Of many members the dots would hide the lines; a single epoch has nothing but dots.
    dots = {"marker": ".", "markersize": 3} if len(members) <= 8 or len(epochs) == 1 else {"linewidth": 0.6}
    for member in members:
        line = [_member_value(evaluation, metric.key, member) for evaluation in evaluations]
        axes.plot(epochs, line, **{"color": LIGHT["member"], "linewidth": 0.9, "gid": f"member-{member}", **dots})
    average = [_number(evaluation.numbers["member_average"], metric.key, "value") for evaluation in evaluations]
    axes.plot(epochs, average, color=LIGHT["average"], linewidth=1.4, linestyle=(0, (4, 2)), gid="average")
    value, low, high = (
        np.array([_number(evaluation.numbers["ensemble"], metric.key, part) for evaluation in evaluations])
        for part in ("value", "low", "high")
    )
    below, above = np.maximum(value - low, 0), np.maximum(high - value, 0)
    axes.errorbar(
        epochs,
        value,
        yerr=(np.nan_to_num(below), np.nan_to_num(above)),
        color=LIGHT["ensemble"],
        linewidth=2,
        elinewidth=1.1,
        capsize=2.5,
        marker="o",
        markersize=4.5,
        gid="ensemble",
    )
    if metric.key == "accuracy" and np.isfinite(evaluations[-1].chance):
        axes.axhline(evaluations[-1].chance, color=LIGHT["muted"], linewidth=1, linestyle=":", gid="chance")
    if not np.isfinite(value).any():
        axes.text(0.5, 0.5, "no known answers", transform=axes.transAxes, ha="center", color=LIGHT["muted"])
    _set_limits(axes, epochs, metric)


def _set_limits(axes: Axes, epochs: list[int], metric: Metric) -> None:
    if len(epochs) <= 11:
        axes.set_xticks(epochs)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=10, integer=True))
    axes.set_xlim(epochs[0] - 0.3, epochs[-1] + 0.3)
    low, high = axes.get_ylim()
    if high - low < metric.span:
        low, high = (low + high - metric.span) / 2, (low + high + metric.span) / 2
    axes.set_ylim(max(0.0, low), min(high, metric.highest + metric.span * 0.2))


def _number(numbers: dict[str, Any], key: str, part: str) -> float:
    value = numbers[key][part]
    return float("nan") if value is None else float(value)


def _member_value(evaluation: Evaluation, key: str, member: int) -> float:
    if member not in evaluation.members:
        return float("nan")
    value = evaluation.numbers["member_average"][key]["per_member"][evaluation.members.index(member)]
    return float("nan") if value is None else float(value)


def _legend(sheet: Sheet) -> None:
    handles = [
        Line2D(
            [], [], color=LIGHT["ensemble"], linewidth=2, marker="o", markersize=4.5, label="ensemble, 95% interval"
        ),
        Line2D([], [], color=LIGHT["member"], linewidth=0.9, marker=".", markersize=3, label="each member"),
        Line2D([], [], color=LIGHT["average"], linewidth=1.4, linestyle=(0, (4, 2)), label="members' average"),
        Line2D([], [], color=LIGHT["muted"], linewidth=1, linestyle=":", label="guessing"),
    ]
    sheet.figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=((LEFT - 0.08) / sheet.width, 1 - 0.1 / sheet.height),
        ncols=4,
        frameon=False,
        labelcolor=LIGHT["ink"],
        borderaxespad=0,
        fontsize=8.5,
    )
