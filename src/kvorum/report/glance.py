"""What the page says first: what was run in a sentence, what to beware of, and the numbers from first to last epoch."""

from collections.abc import Sequence
from typing import Any

from kvorum.report.analysis import Analysis
from kvorum.report.evaluations import Evaluation, by_task
from kvorum.report.tables import Cell
from kvorum.report.words import count
from kvorum.run import Run


def lead(run: Run, evaluations: Sequence[Evaluation]) -> str:
    """The run in a sentence, and why one reads on."""
    members = run.config.members
    words = f"{count(members, 'LoRA adapter')} on one frozen base model"
    if evaluations:
        tasks, epochs = by_task(evaluations), sorted({evaluation.epoch for evaluation in evaluations})
        span = f"epoch {epochs[0]}" if len(epochs) == 1 else f"epochs {epochs[0]} to {epochs[-1]}"
        words += f", scored on {count(len(tasks), 'task')} at {span}"
    return f"{words}. Where members that saw the same questions disagree, they have learned different things from them."


def notices(analysis: Analysis) -> list[str]:
    """What a reader must know before believing the numbers."""
    evaluations, found = analysis.evaluations, []
    for task in by_task(evaluations):
        most = max(task, key=lambda evaluation: evaluation.fitted_on)
        if most.fitted_on:
            share = "all" if most.fitted_on >= len(most.predictions) else f"{most.fitted_on:,}"
            found.append(
                f"{most.task} was evaluated on {share} of {count(len(most.predictions), 'question')} that the members "
                "were fitted on: its numbers say how well they remember, not how they do on new questions."
            )
    found += [f"{gone} Its answers count in nothing from then on." for gone in left_out(evaluations)]
    return found + analysis.warnings


def left_out(evaluations: Sequence[Evaluation]) -> list[str]:
    """A sentence a member that diverged, with the first epoch that does without it."""
    first: dict[int, Evaluation] = {}
    for evaluation in sorted(evaluations, key=lambda each: each.epoch):
        for member in evaluation.diverged:
            first.setdefault(member, evaluation)
    return [
        f"Member {member} diverged by {of.diverged[member]}, and is left out from epoch {of.epoch} on."
        for member, of in sorted(first.items())
    ]


def glance(evaluations: Sequence[Evaluation]) -> list[dict[str, Any]]:
    """A line a task: the ensemble's numbers at its first and last epoch."""
    lines = []
    for task in by_task(evaluations):
        first, last = task[0], task[-1]
        before = _headline(first) if len(task) > 1 else [None] * len(_headline(last))
        lines.append(
            {
                "title": last.title,
                "epochs": f"{first.epoch} → {last.epoch}" if len(task) > 1 else str(last.epoch),
                "questions": f"{len(last.predictions):,}",
                "changes": list(zip(before, _headline(last), strict=True)),
            }
        )
    return lines


def _headline(evaluation: Evaluation) -> list[str]:
    numbers = evaluation.numbers
    found = [numbers["ensemble"][key] for key in ("accuracy", "nll", "ece")]
    found += [numbers[key]["all"]["mean"] for key in ("predictive_entropy", "mutual_information")]
    return [Cell.of(interval).text for interval in found]
