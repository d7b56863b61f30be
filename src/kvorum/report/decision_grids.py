"""The page's tables of decisions: what answering selectively leaves of the risk, whether doubt tells other tasks, and
whether the run's calibration keeps its promises."""

from collections.abc import Sequence
from typing import Any

from kvorum.decisions.words import SCORE_WORDS, guarantee
from kvorum.report.analysis import Analysis, Studied
from kvorum.report.grid import DASH, Body, Entry, Grid, Group, Line, heading, marked, number, percent
from kvorum.report.words import TABLES
from kvorum.uncertainty.conformal import METHODS
from kvorum.uncertainty.doubt import DOUBTS

MEASURES = (("auroc", "AUROC ↑"), ("aupr", "AUPR ↑"), ("fpr95", "FPR95 ↓"))


def selective_grid(analysis: Analysis) -> Grid | None:
    """By marked epoch, what each score of doubt leaves of the risk; None where no answer is known."""
    rows = [
        (task, [(of, of.selective) for of in analysis.marked(task) if of.evaluation.predictions.labelled.any()])
        for task in analysis.tasks
    ]
    return _by_score("selective", (("aurc", "AURC"), ("excess", "excess")), "lower", rows)


def detection_grid(analysis: Analysis) -> Grid | None:
    """By marked epoch, how each score of doubt tells a task; None where none is scored beside the one fitted on."""
    rows = [
        (task, [(of, of.detection) for of in analysis.marked(task) if of.epoch and of.detection is not None])
        for task in analysis.tasks
    ]
    return _by_score("detection", MEASURES, "", rows)


def _by_score(
    key: str,
    measures: Sequence[tuple[str, str]],
    better: str,
    rows: Sequence[tuple[Sequence[Studied], Sequence[tuple[Studied, dict[str, Any]]]]],
) -> Grid | None:
    """A body a task, a row an epoch, a group of columns a score of doubt."""
    shown = [(task, found) for task, found in rows if found]
    if not shown:
        return None
    return Grid(
        key=key,
        **TABLES[key],
        stub="epoch",
        groups=tuple(
            Group(name=SCORE_WORDS[name], columns=tuple(words for _, words in measures), better=better)
            for name in DOUBTS
        ),
        bodies=tuple(
            Body(
                title=heading(task),
                lines=tuple(
                    Line(
                        head=str(of.epoch),
                        entries=tuple(number(found[name][measure]) for name in DOUBTS for measure, _ in measures),
                    )
                    for of, found in those
                ),
            )
            for task, those in shown
        ),
    )


def decided_grid(analysis: Analysis) -> Grid | None:
    """At the calibrated ones of the marked epochs, a row a task; None where nothing is calibrated."""
    by_epoch: dict[int, list[Studied]] = {}
    for of in marked(analysis):
        if of.decided is not None:
            by_epoch.setdefault(of.epoch, []).append(of)
    if not by_epoch:
        return None
    return Grid(
        key="decided",
        **TABLES["decided"],
        words=tuple(
            guarantee(calibration, epoch)
            for epoch, those in sorted(by_epoch.items())
            if (calibration := those[0].calibration) is not None
        ),
        stub="task",
        groups=(
            Group(name="answered", columns=("",)),
            Group(name="risk of those", columns=("",), better="lower"),
            *(Group(name=f"{method} sets", columns=("coverage", "mean size")) for method in METHODS),
        ),
        bodies=tuple(
            Body(
                title=f"epoch {epoch}",
                lines=tuple(Line(head=_head(of), entries=tuple(_entries(of.decided or {}))) for of in those),
            )
            for epoch, those in sorted(by_epoch.items())
        ),
    )


def _head(of: Studied) -> str:
    if not of.decided or not of.decided["halves"]:
        return of.task
    reached, halves = of.decided["reached"], of.decided["halves"]
    return (
        f"{of.task} (held-out halves)"
        if reached == halves
        else f"{of.task} (rules found in {reached} of {halves} halves)"
    )


def _entries(decided: dict[str, Any]) -> list[Entry]:
    found = [percent(decided["answered"]), percent(decided["risk"])]
    for method in METHODS:
        found += [percent(decided["sets"][method]["coverage"]), number(decided["sets"][method]["size"])]
    return [entry if entry.text != DASH else Entry(text=DASH, small="too few questions") for entry in found]
