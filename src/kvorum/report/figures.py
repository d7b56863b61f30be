"""The report's four figures: which panels each has, and the words under it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kvorum.report.curves import draw_curves
from kvorum.report.evaluations import Evaluation, by_task
from kvorum.report.histograms import Block, Panel, draw_histograms
from kvorum.report.sheet import Sheet

MOST_COLUMNS = 5
"""Epochs (or tasks) side by side; beyond, panels would be too small to read."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FigureOf:
    """A figure with what the page says of it."""

    stem: str
    title: str
    note: str
    """What is particular to this run, such as epochs left out; empty when nothing is."""
    sheet: Sheet


def draw_figures(evaluations: Sequence[Evaluation]) -> list[FigureOf]:
    """Those of the four figures for which the run has what they show."""
    tasks = by_task(evaluations)
    if not tasks:
        return []
    inside = [task for task in tasks if task[0].in_domain]
    others = [task for task in tasks if not task[0].in_domain]
    found = [
        FigureOf(
            stem="figure-1",
            title="Accuracy, NLL and calibration error against epoch",
            note="",
            sheet=draw_curves(tasks),
        )
    ]
    if inside:
        found.append(_by_epoch("figure-2", "Entropy and mutual information by epoch: the task fitted on", inside))
    if others:
        found.append(_by_epoch("figure-3", "Entropy and mutual information by epoch: the other tasks", others))
    found.append(_side_by_side(tasks))
    return found


def chosen_epochs(epochs: Sequence[int]) -> list[int]:
    """The first, the last and some evenly between, at most as many as a figure has room for."""
    epochs = sorted(epochs)
    if len(epochs) <= MOST_COLUMNS:
        return epochs
    return [epochs[round(place)] for place in np.linspace(0, len(epochs) - 1, MOST_COLUMNS)]


def _by_epoch(stem: str, title: str, tasks: Sequence[Sequence[Evaluation]]) -> FigureOf:
    epochs = sorted({evaluation.epoch for task in tasks for evaluation in task})
    shown = chosen_epochs(epochs)
    blocks = []
    for task in tasks:
        columns = [evaluation for evaluation in task if evaluation.epoch in shown]
        # A task evaluated later, at epochs of its own, still gets its columns.
        columns = columns or [task[-1]]
        blocks.append(_block(task[0].title, [_epoch(evaluation.epoch) for evaluation in columns], columns))
    note = ""
    if shown != epochs:
        note = f"Shown are epochs {_listed(shown)} of {epochs[0]} to {epochs[-1]}; the tables hold all."
    return FigureOf(
        stem=stem,
        title=title,
        note=note,
        sheet=draw_histograms(blocks),
    )


def _side_by_side(tasks: Sequence[Sequence[Evaluation]]) -> FigureOf:
    last = [task[-1] for task in tasks]
    epochs = sorted({evaluation.epoch for evaluation in last})
    blocks = [
        _block(
            "",
            [_named(evaluation, alone=len(epochs) == 1) for evaluation in last[start : start + MOST_COLUMNS]],
            last[start : start + MOST_COLUMNS],
        )
        for start in range(0, len(last), MOST_COLUMNS)
    ]
    return FigureOf(
        stem="figure-4",
        title=f"All tasks side by side after the last epoch ({_listed(epochs)})",
        note="",
        sheet=draw_histograms(blocks),
    )


def _block(heading: str, columns: Sequence[str], evaluations: Sequence[Evaluation]) -> Block:
    rows: list[tuple[str, tuple[Panel, ...]]] = []
    if any(evaluation.predictions.labelled.any() for evaluation in evaluations):
        rows.append(("right", tuple(_panel(evaluation, evaluation.correct) for evaluation in evaluations)))
        rows.append(("wrong", tuple(_panel(evaluation, evaluation.wrong) for evaluation in evaluations)))
    if not all(evaluation.predictions.labelled.all() for evaluation in evaluations):
        unknown = tuple(_panel(evaluation, ~evaluation.predictions.labelled) for evaluation in evaluations)
        rows.append(("answer unknown", unknown))
    return Block(heading=heading, columns=tuple(columns), rows=tuple(rows))


def _panel(evaluation: Evaluation, chosen: np.ndarray) -> Panel:
    predictions = evaluation.predictions
    return Panel(
        entropy=predictions.predictive_entropy[chosen], mutual_information=predictions.mutual_information[chosen]
    )


def _epoch(epoch: int) -> str:
    return "epoch 0 (untouched model)" if epoch == 0 else f"epoch {epoch}"


def _named(evaluation: Evaluation, *, alone: bool) -> str:
    name = evaluation.task if len(evaluation.task) <= 26 else evaluation.task[:25] + "…"
    return name if alone else f"{name}, {_epoch(evaluation.epoch)}"


def _listed(epochs: Sequence[int]) -> str:
    words = [str(epoch) for epoch in epochs]
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]
