"""The study of a run for a terminal and as plain values for JSON, and the questions behind its numbers."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from rich.table import Table
from rich.text import Text

from kvorum.decisions.words import SCORE_WORDS
from kvorum.errors import KvorumError, nearest
from kvorum.report.analysis import AT_MARKS, Analysis, Studied
from kvorum.report.findings import Finding, Verdict, findings
from kvorum.report.glance import notices
from kvorum.report.tables import Cell
from kvorum.report.words import count
from kvorum.uncertainty.conformal import METHODS
from kvorum.uncertainty.detection import MEASURES
from kvorum.uncertainty.plane import QUADRANTS
from kvorum.uncertainty.retention import OUTCOMES

ASKED_OUTCOMES = {name.replace(" ", "-"): name for name in OUTCOMES}
VERDICT_STYLES: dict[Verdict, str] = {"seen": "green", "partly": "yellow", "not seen": "red", "not testable": "dim"}


def study_dict(analysis: Analysis) -> dict[str, Any]:
    """Every number of the study, as plain values; entropies, NLL and KL in nats."""
    analysis.compute()
    cuts = analysis.cuts
    return {
        "run": str(analysis.run.path),
        "marks": list(analysis.marks),
        "best_epoch": analysis.best,
        "last_epoch": analysis.last,
        "cuts": {
            "entropy": cuts.entropy,
            "entropy_from": cuts.entropy_from,
            "mutual_information": cuts.mutual_information,
            "mutual_information_from": cuts.mutual_information_from,
        },
        "warnings": notices(analysis),
        "findings": [dataclasses.asdict(finding) for finding in findings(analysis)],
        "tasks": {
            task[0].task: {str(one.epoch): _studied_dict(one, at_mark=one in analysis.marked(task)) for one in task}
            for task in analysis.tasks
        },
    }


def _studied_dict(one: Studied, *, at_mark: bool) -> dict[str, Any]:
    change = one.change
    return {
        "subensembles": one.subensembles,
        "quadrants": one.shares,
        "outcomes": change.outcomes if change else None,
        "crossed": one.crossed,
        "movement": change.movement if change else None,
        "carried": one.carried,
        "diversity": one.diversity,
        **{part: getattr(one, part) if at_mark else None for part in AT_MARKS},
    }


def study_tables(analysis: Analysis) -> Iterator[Table | Text]:
    """The study in narrow tables, a few a task."""
    if not analysis.tasks:
        yield Text(f"{analysis.run.path}: nothing is scored yet")
        return
    for warning in notices(analysis):
        yield Text(warning, style="yellow")
    if found := findings(analysis):
        yield _findings(found)
        yield Text()
    cuts = analysis.cuts
    yield Text(
        f"confident, torn, disputed: entropy is cut at {cuts.entropy:.4g} nats ({cuts.entropy_from}), mutual "
        f"information at {cuts.mutual_information:.4g} ({cuts.mutual_information_from})"
    )
    for task in analysis.tasks:
        yield Text()
        yield Text(f"{task[0].task}: {len(task[-1].evaluation.predictions)} questions", style="bold")
        marked = analysis.marked(task)
        yield _subensembles(marked)
        yield _quadrants(task)
        if any(one.change for one in task):
            yield _outcomes(task)
            yield _crossed(marked)
            yield _movement(marked)
        if any(one.diversity for one in task):
            yield _diversity(task)
        yield _selective(marked)
        if any(one.detection for one in marked):
            yield _detection(marked)
        if any(one.decided for one in marked):
            yield _decided(marked)


def _findings(found: Sequence[Finding]) -> Table:
    table = Table(title="What the paper found, and what this run shows", title_justify="left", box=None, pad_edge=False)
    for heading in ("claim", "this run", "by what"):
        table.add_column(heading, max_width=36 if heading == "claim" else None)
    for finding in found:
        verdict = Text(finding.verdict, style=VERDICT_STYLES[finding.verdict])
        table.add_row(finding.claim, verdict, Text(finding.evidence))
    return table


def _subensembles(marked: Sequence[Studied]) -> Table:
    table = _table(
        "Fewer members: mean over disjoint groups ± standard deviation; share of the whole ensemble's gain kept",
        ["epoch", "members", "groups", "accuracy", "NLL", "ECE", "kept of NLL gain", "kept of ECE gain"],
    )
    for one in marked:
        for row in one.subensembles:
            table.add_row(
                str(one.epoch),
                str(row["size"]),
                str(row["groups"]),
                *(_spread(row[metric]) for metric in ("accuracy", "nll", "ece")),
                *(_percent(row["kept"][metric]) for metric in ("nll", "ece")),
            )
    return table


def _quadrants(task: Sequence[Studied]) -> Table:
    headings = [f"{name}\n{what}" for name in QUADRANTS for what in ("share", "accuracy")]
    table = _table("Confident, torn, disputed", ["epoch", *headings])
    for one in task:
        table.add_row(
            str(one.epoch),
            *(_interval(one.shares[name][what]) for name in QUADRANTS for what in ("share", "accuracy")),
        )
    return table


def _outcomes(task: Sequence[Studied]) -> Table:
    table = _table("Against epoch 0: questions and share", ["epoch", *OUTCOMES])
    for one in task:
        if one.change:
            found = one.change.outcomes
            table.add_row(
                str(one.epoch),
                *(Text(f"{found[name]['questions']}\n") + _interval(found[name]["share"]) for name in OUTCOMES),
            )
    return table


def _crossed(marked: Sequence[Studied]) -> Table:
    table = _table("What became of them, by the kind of doubt: questions", ["epoch", "outcome", *QUADRANTS])
    for one in marked:
        for name, inside in (one.crossed or {}).items():
            table.add_row(str(one.epoch), name, *(str(inside[quadrant]) for quadrant in QUADRANTS))
    return table


def _movement(marked: Sequence[Studied]) -> Table:
    table = _table(
        "How far answers moved from those at epoch 0",
        ["epoch", "quadrant", "questions", "KL, nats", "total variation", "same answer"],
    )
    for one in marked:
        if one.change:
            for name, row in one.change.movement.items():
                values = (_interval(row[key]) for key in ("kl", "tv", "same_answer"))
                table.add_row(str(one.epoch), name, str(row["questions"]), *values)
    return table


def _diversity(task: Sequence[Studied]) -> Table:
    table = _table("How different two members are", ["epoch", "disagreement", "KL, nats", "closest pair", "their KL"])
    for one in task:
        if found := one.diversity:
            pair = " and ".join(map(str, found["closest"]["members"]))
            kl = f"{found['closest']['kl']:.3g}"
            table.add_row(str(one.epoch), _interval(found["disagreement"]), _interval(found["kl"]), pair, kl)
    return table


def _selective(marked: Sequence[Studied]) -> Table:
    table = _table("Answering only what is least doubted", ["epoch", "score of doubt", "AURC", "excess"])
    for one in marked:
        for name, row in one.selective.items():
            table.add_row(str(one.epoch), SCORE_WORDS[name], _interval(row["aurc"]), _interval(row["excess"]))
    return table


def _detection(marked: Sequence[Studied]) -> Table:
    headings = ["epoch", "score of doubt", "AUROC", "AUPR", "FPR at 95% TPR"]
    table = _table("Telling it from the questions in domain", headings)
    for one in marked:
        for name, row in (one.detection or {}).items():
            table.add_row(str(one.epoch), SCORE_WORDS[name], *(_interval(row[key]) for key in MEASURES))
    return table


def _decided(marked: Sequence[Studied]) -> Table:
    headings = [
        "epoch",
        "answered",
        "risk",
        *(f"{method} {what}" for method in METHODS for what in ("coverage", "size")),
    ]
    halves = any(one.decided and one.decided["halves"] for one in marked)
    table = _table(f"As calibrated{', on held-out halves' if halves else ''}", headings)
    for one in marked:
        if found := one.decided:
            sets = (found["sets"][method][what] for method in METHODS for what in ("coverage", "size"))
            table.add_row(str(one.epoch), *(_interval(row) for row in (found["answered"], found["risk"], *sets)))
    return table


def _table(title: str, headings: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold", title_style="")
    for heading in headings:
        table.add_column(heading, justify="right", max_width=14)
    return table


def _interval(interval: Mapping[str, Any]) -> Text:
    cell = Cell.of(interval)
    text = Text(cell.text)
    return text.append(f"\n{cell.interval}", style="dim") if cell.interval else text


def _spread(spread: Mapping[str, Any]) -> Text:
    text = Text(Cell(value=spread["value"]).text)
    return text.append(f"\n± {spread['std']:.3f}", style="dim") if spread["std"] is not None else text


def _percent(interval: Mapping[str, Any] | None) -> Text:
    if interval is None or interval["value"] is None:
        return Text("–")
    text = Text(f"{interval['value'] + 0.0:.0%}")
    if interval["low"] is not None and interval["low"] < interval["high"]:
        text.append(f"\n{interval['low']:.0%}–{interval['high']:.0%}", style="dim")
    return text


def question_list(
    analysis: Analysis,
    *,
    task: str | None = None,
    epoch: str = "last",
    outcome: str | None = None,
    quadrant: str | None = None,
) -> list[dict[str, Any]]:
    """The questions of a task at an epoch, those of an outcome and a quadrant only, as plain values; nats.

    `votes` is the place of each member's answer among the choices.

    Raises `KvorumError` for a task or epoch that is not scored, and for an outcome where epoch 0 is not.
    """
    one = _at(analysis, task, epoch)
    change = one.change
    if outcome is not None and change is None:
        raise KvorumError(
            f"{analysis.run.path}: {one.task} is not scored at epoch 0, so nothing says what became of it"
        )
    predictions = one.evaluation.predictions
    votes = predictions.probs.argmax(axis=-1)
    chosen = np.ones(len(predictions), bool)
    if outcome is not None and change is not None:
        chosen &= change.outcome == OUTCOMES.index(ASKED_OUTCOMES[outcome])
    if quadrant is not None:
        chosen &= one.quadrant == QUADRANTS.index(quadrant)
    return [
        {
            "task": one.task,
            "epoch": one.epoch,
            "id": predictions.ids[row],
            "subject": predictions.subjects[row],
            "question": predictions.questions[row],
            "answer": _choice(predictions.choices[row], int(predictions.answers[row])),
            "ensemble": _choice(predictions.choices[row], int(predictions.predicted[row])),
            "probabilities": predictions.mean[row, : len(predictions.choices[row])].tolist(),
            "predictive_entropy": float(predictions.predictive_entropy[row]),
            "expected_entropy": float(predictions.expected_entropy[row]),
            "mutual_information": float(predictions.mutual_information[row]),
            "votes": votes[:, row].tolist(),
            "quadrant": QUADRANTS[one.quadrant[row]],
            "outcome": OUTCOMES[change.outcome[row]] if change and change.outcome[row] >= 0 else None,
            "kl": float(change.kl[row]) if change and change.asked[row] else None,
            "total_variation": float(change.tv[row]) if change and change.asked[row] else None,
        }
        for row in np.flatnonzero(chosen).tolist()
    ]


def _at(analysis: Analysis, task: str | None, epoch: str) -> Studied:
    names = [of_task[0].task for of_task in analysis.tasks]
    if not names:
        raise KvorumError(f"{analysis.run.path}: nothing is scored yet")
    if task is not None and task not in names:
        raise KvorumError(f"{analysis.run.path} has no scores on '{task}'{nearest(task, names)}")
    chosen = analysis.tasks[names.index(task) if task is not None else 0]
    epochs = [str(one.epoch) for one in chosen]
    if epoch != "last" and epoch not in epochs:
        raise KvorumError(
            f"{chosen[0].task} is not scored at epoch '{epoch}'; expected last or one of {', '.join(epochs)}"
        )
    return chosen[-1 if epoch == "last" else epochs.index(epoch)]


def _choice(choices: Sequence[str], place: int) -> str | None:
    return None if place < 0 else choices[place]


def question_table(found: Sequence[Mapping[str, Any]]) -> Table:
    """A row a question."""
    title = count(len(found), "question") + (f" of {found[0]['task']}, epoch {found[0]['epoch']}" if found else "")
    table = Table(title=Text(title), title_justify="left", box=None, pad_edge=False)
    for heading in ("question", "right answer", "ensemble", "doubt", "since epoch 0"):
        table.add_column(heading)
    for heading in ("entropy", "MI", "KL"):
        table.add_column(heading, justify="right")
    for one in found:
        texts = (one["question"], one["answer"] or "–", one["ensemble"], one["quadrant"], one["outcome"] or "–")
        numbers = (one["predictive_entropy"], one["mutual_information"], one["kl"])
        table.add_row(*map(Text, texts), *(Text(Cell(value=number).text) for number in numbers))
    return table
