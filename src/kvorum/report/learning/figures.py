"""The figures over labels: learning curves, how far each function lies from random, whether doubt falls."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from kvorum.report.figures.palette import LIGHT, RUNS
from kvorum.report.figures.series import series_style, short
from kvorum.report.figures.sheet import Sheet
from kvorum.report.learning.analyse import Function, Learning
from kvorum.report.learning.curves import Point
from kvorum.report.learning.numbers import curve_words
from kvorum.report.learning.panels import (
    BOTTOM,
    LEFT,
    WIDTH,
    columns_for,
    draw_series,
    labels_axis,
    left_of,
    limit,
    numbers,
    panel_width,
    sheet_with_legend,
)

METRICS = {"accuracy": ("accuracy ↑", 0.1, 0.0, 1.0), "nll": ("NLL (nats) ↓", 0.2, 0.0, math.inf)}
"""Name, least span of the axis, and the ends that there can be."""
DOUBTS = {"mutual_information": ("mean MI (nats)", 0.02), "entropy": ("mean entropy (nats)", 0.1)}
HEADING, BLOCK_GAP = 0.55, 0.62


def draw_learning_curves(learning: Learning) -> Sheet:
    """A row a test task: accuracy and NLL against labels, a line a function."""
    high = 2.5
    block = HEADING + high + BLOCK_GAP
    names = [function.name for function in learning.functions]
    sheet, start = sheet_with_legend(names, len(learning.tests) * block - BLOCK_GAP + BOTTOM)
    for row, test in enumerate(learning.tests):
        top = start + row * block
        sheet.text(LEFT, top + 0.1, test.task, weight="bold", fontsize=10)
        for column, (key, (name, span, lowest, highest)) in enumerate(METRICS.items()):
            left = left_of(column, 2)
            sheet.text(left, top + HEADING - 0.13, name, "muted")
            axes = sheet.axes(left, top + HEADING, panel_width(2), high)
            drawn = _draw_functions(axes, [function.curves[row].points for function in learning.functions], key)
            limit(axes, drawn, span, lowest=lowest, highest=highest)
            labels_axis(axes, _labels(learning))
            sheet.text(left + panel_width(2) / 2, top + HEADING + high + 0.34, "labels", "muted", ha="center")
    return sheet


def draw_differences(learning: Learning) -> Sheet | None:
    """A panel a function, for every test task and metric: its difference to random; None where there is none."""
    others = [(place, function) for place, function in enumerate(learning.functions) if _compared(function)]
    if not others:
        return None
    columns = columns_for(len(others))
    lines, high, between = math.ceil(len(others) / columns), 1.45, 0.62
    blocks = [(row, test, key) for row, test in enumerate(learning.tests) for key in METRICS if test.known]
    block = 0.6 + lines * (high + between)
    sheet = Sheet(WIDTH, 0.12 + len(blocks) * block)
    for number, (row, test, key) in enumerate(blocks):
        top = 0.12 + number * block
        better = "above zero is better" if key == "accuracy" else "below zero is better"
        sheet.text(
            LEFT, top + 0.1, f"{short(test.task)}: {METRICS[key][0][:-2]}, minus random's", weight="bold", fontsize=10
        )
        sheet.text(WIDTH - 0.15, top + 0.1, better, "muted", ha="right")
        panels = []
        for position, (place, function) in enumerate(others):
            line, column = divmod(position, columns)
            left, high_up = left_of(column, columns), top + 0.52 + line * (high + between)
            colour, marker, _ = series_style(place)
            sheet.text(left, high_up - 0.13, short(function.name), RUNS[place % len(RUNS)], weight="bold")
            axes = sheet.axes(left, high_up, panel_width(columns), high)
            panels.append((axes, _draw_difference(axes, function.curves[row].points, key, colour, marker)))
            labels_axis(axes, _labels(learning))
            if line == lines - 1 or position + columns >= len(others):
                sheet.text(left + panel_width(columns) / 2, high_up + high + 0.34, "labels", "muted", ha="center")
        together = [values for _, drawn in panels for values in drawn]
        for axes, _ in panels:
            limit(axes, [*together, np.zeros(1)], METRICS[key][1] / 2)
    return sheet


def draw_doubt(learning: Learning) -> Sheet:
    """A row a set of questions: mean mutual information and entropy against labels, a line a function."""
    high = 1.8
    rows = [curve_words(curve) for curve in learning.functions[0].doubt]
    block = HEADING + high + 0.45
    names = [function.name for function in learning.functions]
    sheet, start = sheet_with_legend(names, len(rows) * block - 0.45 + BOTTOM)
    for row, title in enumerate(rows):
        top = start + row * block
        sheet.text(LEFT, top + 0.1, title, weight="bold", fontsize=10)
        for column, (key, (name, span)) in enumerate(DOUBTS.items()):
            left = left_of(column, 2)
            sheet.text(left, top + HEADING - 0.13, name, "muted")
            axes = sheet.axes(left, top + HEADING, panel_width(2), high)
            drawn = _draw_functions(axes, [function.doubt[row].points for function in learning.functions], key)
            limit(axes, drawn, span, lowest=0.0)
            labels_axis(axes, _labels(learning))
            if row == len(rows) - 1:
                sheet.text(left + panel_width(2) / 2, sheet.height - 0.14, "labels", "muted", ha="center")
    return sheet


def _labels(learning: Learning) -> list[int]:
    return [point.labels for function in learning.functions for point in function.curves[0].points]


def _compared(function: Function) -> bool:
    return any(point.accuracy_difference is not None and point.round for point in function.curves[0].points)


def _draw_difference(axes: Axes, points: Sequence[Point], key: str, colour: str, marker: str) -> list[np.ndarray]:
    """The mean over its interval, each seed a thin line; returns what the axis must hold: the interval only so far."""
    compared = [point for point in points if getattr(point, f"{key}_difference") is not None]
    estimates = [getattr(point, f"{key}_difference") for point in compared]
    labels = [point.labels for point in compared]
    axes.axhline(0, color=LIGHT["muted"], linewidth=1, gid="zero")
    value = numbers(estimates, "value")
    alike = np.array([of.alike for of in estimates])
    low, high = (np.where(alike, value, numbers(estimates, end)) for end in ("low", "high"))
    axes.fill_between(labels, low, high, color=colour, alpha=0.16, linewidth=0, gid="interval")
    seeds = np.array([[np.nan if value is None else value for value in of.per_seed] for of in estimates], float)
    for of_seed in seeds.T if seeds.shape[1] > 1 else ():
        axes.plot(labels, of_seed, color=colour, linewidth=0.7, alpha=0.6, gid="seed")
    axes.plot(labels, value, color=colour, linewidth=1.8, marker=marker, markersize=4, gid="difference")
    reach = np.nanmax(np.abs(seeds)) if np.isfinite(seeds).any() else 0.0
    return [seeds.ravel(), np.clip(low, -2 * reach, 2 * reach), np.clip(high, -2 * reach, 2 * reach)]


def _draw_functions(axes: Axes, curves: Sequence[Sequence[Any]], key: str) -> list[np.ndarray]:
    """A line a function, of one of its points' numbers against labels; returns the ends of the bands."""
    drawn = []
    for place, points in enumerate(curves):
        estimates = [getattr(point, key) for point in points]
        draw_series(axes, [point.labels for point in points], estimates, place)
        drawn += [numbers(estimates, "least"), numbers(estimates, "greatest")]
    return drawn
