"""The report's figures: which panels each has, and the words under it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kvorum.report.analysis import Analysis, Studied
from kvorum.report.evaluations import Evaluation
from kvorum.report.figures.curves import draw_curves, drawn_sizes
from kvorum.report.figures.diversity import draw_diversity
from kvorum.report.figures.flow import draw_flow
from kvorum.report.figures.histograms import Block, Panel, draw_histograms
from kvorum.report.figures.movement import draw_movement
from kvorum.report.figures.quadrants import draw_quadrants
from kvorum.report.figures.risk import draw_risk
from kvorum.report.figures.scatter import draw_scatter
from kvorum.report.figures.sheet import Sheet
from kvorum.report.tables import Cell

MOST_COLUMNS = 5
"""Epochs (or tasks) side by side; beyond, panels would be too small to read."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FigureOf:
    """A figure with what the page says of it."""

    stem: str
    section: str
    """Of the page in which it stands: `scores`, `doubt`, `decisions`, `retention` or `diversity`."""
    title: str
    note: str
    """What is particular to this run, such as epochs left out; empty when nothing is."""
    sheet: Sheet


def draw_figures(analysis: Analysis) -> list[FigureOf]:
    """Those of the figures for which the run has what they show."""
    if not analysis.tasks:
        return []
    return [
        *_of_scores(analysis),
        *_of_doubt(analysis),
        *_of_retention(analysis),
        *_of_diversity(analysis),
        *_of_decisions(analysis),
    ]


def _of_scores(analysis: Analysis) -> list[FigureOf]:
    drawn = drawn_sizes(analysis.tasks)
    left_out = sorted({row["size"] for task in analysis.tasks for row in task[-1].subensembles} - set(drawn))
    words = f"Ensembles of {listed(left_out)} are in the tables only." if left_out else ""
    return [
        FigureOf(
            stem="figure-1",
            section="scores",
            title="Accuracy, NLL and calibration error against epoch",
            note=words,
            sheet=draw_curves(analysis.tasks, mark_names(analysis)),
        )
    ]


def _of_doubt(analysis: Analysis) -> list[FigureOf]:
    inside = [task for task in analysis.tasks if task[0].evaluation.in_domain]
    others = [task for task in analysis.tasks if not task[0].evaluation.in_domain]
    found = []
    for stem, which, tasks in (("figure-2", "the task fitted on", inside), ("figure-3", "the other tasks", others)):
        if tasks:
            found.append(_by_epoch(stem, f"Entropy and mutual information by epoch: {which}", tasks, analysis))
    names, note = _columns(analysis.tasks, analysis)
    return [
        *found,
        _side_by_side(analysis.tasks),
        FigureOf(
            stem="figure-5",
            section="doubt",
            title="Every question between confident, torn and disputed",
            note=f"{_cuts(analysis)} {note}".strip(),
            sheet=draw_scatter(analysis.tasks, names),
        ),
        FigureOf(
            stem="figure-6",
            section="doubt",
            title="Confident, torn and disputed questions by epoch, and the accuracy on each",
            note=_cuts(analysis),
            sheet=draw_quadrants(analysis.tasks),
        ),
    ]


def _of_retention(analysis: Analysis) -> list[FigureOf]:
    """Of tasks that were asked at epoch 0 and after."""
    asked = [[studied for studied in task if studied.change is not None] for task in analysis.tasks]
    tasks = [task for task in asked if task and task[-1].epoch > 0]
    if not tasks:
        return []
    return [
        FigureOf(
            stem="figure-7",
            section="retention",
            title="What became of each question since epoch 0",
            note="",
            sheet=draw_flow(tasks),
        ),
        FigureOf(
            stem="figure-8",
            section="retention",
            title="How far answers have moved from the pre-trained model's",
            note=_cuts(analysis),
            sheet=draw_movement(tasks),
        ),
    ]


def _of_diversity(analysis: Analysis) -> list[FigureOf]:
    """Of tasks with several members; before any fitting these are one and the same."""
    several = [[studied for studied in task if studied.diversity is not None] for task in analysis.tasks]
    tasks = [task for task in several if task and task[-1].epoch > 0]
    if not tasks:
        return []
    return [
        FigureOf(
            stem="figure-9",
            section="diversity",
            title="How different the members are from each other",
            note="",
            sheet=draw_diversity(tasks),
        )
    ]


def _of_decisions(analysis: Analysis) -> list[FigureOf]:
    """Of the tasks with known answers, each at the last of the marked epochs at which it is scored."""
    those = [analysis.marked(task)[-1] for task in analysis.tasks]
    known = [one for one in those if one.evaluation.predictions.labelled.any()]
    if not known:
        return []
    return [
        FigureOf(
            stem="figure-10",
            section="decisions",
            title="The risk of answering only what is least doubted",
            note="",
            sheet=draw_risk(known),
        )
    ]


def mark_names(analysis: Analysis) -> dict[int, str]:
    """What to call each marked epoch; where there is but one epoch, there is nothing to tell it from."""
    if len({studied.epoch for task in analysis.tasks for studied in task}) == 1:
        return {}
    return {epoch: ", ".join(_why(analysis, epoch)) or f"epoch {epoch}" for epoch in analysis.marks}


def _why(analysis: Analysis, epoch: int) -> list[str]:
    return [word for word, of in (("best NLL", analysis.best), ("last", analysis.last)) if epoch == of]


def chosen_epochs(epochs: Sequence[int], marks: Sequence[int] = ()) -> list[int]:
    """Marked ones, the last, the first and some evenly between, at most as many as a figure has room for."""
    epochs = sorted(epochs)
    marked = [epoch for epoch in epochs if epoch in marks]
    if len(marked) > MOST_COLUMNS:
        marked = [marked[round(place)] for place in np.linspace(0, len(marked) - 1, MOST_COLUMNS)]
    chosen = list(dict.fromkeys([*marked, epochs[-1], epochs[0]]))[:MOST_COLUMNS]
    while len(chosen) < min(MOST_COLUMNS, len(epochs)):
        chosen.append(max(epochs, key=lambda epoch: min(abs(epoch - other) for other in chosen)))
    return sorted(chosen)


def _columns(tasks: Sequence[Sequence[Studied]], analysis: Analysis) -> tuple[dict[int, str], str]:
    """The epochs to draw with their headings, and a note when some are left out."""
    epochs = sorted({studied.epoch for task in tasks for studied in task})
    shown = chosen_epochs(epochs, analysis.marks)
    names = {epoch: _epoch(epoch, _heading_words(analysis, epoch)) for epoch in shown}
    note = ""
    if shown != epochs:
        note = f"Shown are epochs {listed(shown)} of {epochs[0]} to {epochs[-1]}; the tables hold all."
    return names, note


def _heading_words(analysis: Analysis, epoch: int) -> Sequence[str]:
    if epoch not in mark_names(analysis):
        return ()
    return _why(analysis, epoch) or ("marked",)


def _by_epoch(stem: str, title: str, tasks: Sequence[Sequence[Studied]], analysis: Analysis) -> FigureOf:
    names, note = _columns(tasks, analysis)
    blocks = []
    for task in tasks:
        # A task evaluated later, at epochs of its own, still gets its columns.
        columns = [studied.evaluation for studied in task if studied.epoch in names] or [task[-1].evaluation]
        headings = [names.get(evaluation.epoch, _epoch(evaluation.epoch)) for evaluation in columns]
        blocks.append(_block(task[0].evaluation.title, headings, columns))
    return FigureOf(stem=stem, section="doubt", title=title, note=note, sheet=draw_histograms(blocks))


def _side_by_side(tasks: Sequence[Sequence[Studied]]) -> FigureOf:
    last = [task[-1].evaluation for task in tasks]
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
        section="doubt",
        title=f"All tasks side by side after the last epoch ({listed(epochs)})",
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


def _cuts(analysis: Analysis) -> str:
    """Where the plane is cut, in words."""
    cuts = analysis.cuts
    entropy, information = (Cell(value=cut).text for cut in (cuts.entropy, cuts.mutual_information))
    return (
        f"Torn is what has an entropy above {entropy} nats ({cuts.entropy_from}); disputed, at any entropy, "
        f"what has a mutual information above {information} nats ({cuts.mutual_information_from})."
    )


def _epoch(epoch: int, words: Sequence[str] = ()) -> str:
    words = [*(["before fitting"] if epoch == 0 else []), *words]
    return f"epoch {epoch}" + (f" ({', '.join(words)})" if words else "")


def _named(evaluation: Evaluation, *, alone: bool) -> str:
    name = evaluation.task if len(evaluation.task) <= 26 else evaluation.task[:25] + "…"
    return name if alone else f"{name}, {_epoch(evaluation.epoch)}"


def listed(numbers: Sequence[int]) -> str:
    """1, 2 and 3."""
    words = [str(number) for number in numbers]
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]
