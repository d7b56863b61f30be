"""What a run knows of every task at every epoch, read once for the whole report."""

import os
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool

from kvorum.predictions import Predictions
from kvorum.run import Run
from kvorum.uncertainty import summarize


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """A task as the ensemble answered it after an epoch."""

    task: str
    epoch: int
    in_domain: bool
    run: Run
    numbers: dict[str, Any]
    """What `kvorum.uncertainty.summarize` says of the predictions."""
    separation: dict[str, Any] | None
    """How well uncertainty tells its questions from those in domain, by `kvorum.uncertainty.separation`."""
    facts: dict[str, Any]
    """What the predictions say of where they come from."""
    questions: str
    """What tells its questions from others: `Predictions.questions_digest`."""
    only: frozenset[int] | None = None
    """The members that count, by their numbers; None for all that answered."""

    @cached_property
    def predictions(self) -> Predictions:
        """The predictions, read when first asked for: tables of numbers do without them."""
        whole = self.run.predictions(self.epoch, self.task)
        if self.only is None:
            return whole
        numbers = self.facts.get("members", range(whole.members))
        return whole.select(members=[place for place, number in enumerate(numbers) if int(number) in self.only])

    def of_members(self, chosen: Collection[int]) -> "Evaluation":
        """What these members alone say, its numbers computed again; itself where there are no others."""
        if set(chosen) == set(self.members):
            return self
        part = replace(self, only=frozenset(chosen))
        predictions = part.predictions
        return replace(part, numbers=summarize(predictions.probs, predictions.rest, predictions.answers))

    @cached_property
    def keys(self) -> list[tuple[str, str, tuple[str, ...], int]]:
        """What tells each question from others, at other epochs and in other runs: id, question, choices, answer."""
        predictions = self.predictions
        return list(
            zip(predictions.ids, predictions.questions, predictions.choices, predictions.answers.tolist(), strict=True)
        )

    @property
    def title(self) -> str:
        """The task's name, marked when it is the one fitted on."""
        return f"{self.task} (in domain)" if self.in_domain else self.task

    @property
    def fitted_on(self) -> int:
        """How many of the questions are among those that the members were fitted on."""
        questions = self.numbers["questions"]
        return int(self.facts.get("trained_on_questions", questions if self.facts.get("trained_on") else 0))

    @property
    def diverged(self) -> dict[int, str]:
        """The members that are left out because they diverged, and where they did."""
        return {int(member): where for member, where in self.facts.get("diverged", {}).items()}

    @property
    def members(self) -> list[int]:
        """The members' numbers, in the order of the predictions; one that diverged is missing."""
        numbers = [int(member) for member in self.facts.get("members", range(self.numbers["members"]))]
        return [number for number in numbers if self.only is None or number in self.only]

    @cached_property
    def correct(self) -> Bool[np.ndarray, "example"]:
        """Whether the ensemble's answer is the known right one; False where none is known."""
        return self.predictions.correct & self.predictions.labelled

    @cached_property
    def wrong(self) -> Bool[np.ndarray, "example"]:
        """Whether the ensemble's answer is not the known right one; False where none is known."""
        return ~self.predictions.correct & self.predictions.labelled

    @cached_property
    def chance(self) -> float:
        """The accuracy that guessing has; nan where no answer is known."""
        labelled = np.flatnonzero(self.predictions.labelled)
        if not len(labelled):
            return float("nan")
        return float(np.mean([1 / len(self.predictions.choices[example]) for example in labelled]))


def read_evaluations(run: Run) -> list[Evaluation]:
    """Every task at every saved epoch: the task fitted on first, then the others; each by rising epoch."""
    # The setting may be a file's path; its task is named by the file's stem.
    fitted = run.facts.get("task", run.config.task)
    places = [(epoch, task) for epoch in run.epochs for task in run.tasks(epoch)]
    # numpy leaves the interpreter to others while it computes, and nothing may be kept yet.
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        derived = list(pool.map(lambda place: run.derived(*place), places))
    found = [
        Evaluation(
            task=task,
            epoch=epoch,
            in_domain=task == fitted,
            run=run,
            numbers=of["numbers"],
            separation=of["separation"],
            facts=of["facts"],
            questions=of["questions_sha256"],
        )
        for (epoch, task), of in zip(places, derived, strict=True)
    ]
    order = list(dict.fromkeys(evaluation.task for evaluation in sorted(found, key=lambda each: not each.in_domain)))
    return sorted(found, key=lambda each: (order.index(each.task), each.epoch))


def common_ground(task: Sequence[Evaluation]) -> list[Evaluation]:
    """The fitted epochs of a task that compare: on the questions that most of them were asked (the later ones, of as
    many), and with the members that are there at all of them."""
    fitted = [each for each in task if each.epoch]
    if not fitted:
        return []
    groups = [[each for each in fitted if each.questions == one.questions] for one in fitted]
    most = max(groups, key=lambda group: (len(group), group[-1].epoch))
    throughout = set.intersection(*(set(each.members) for each in most))
    return [each.of_members(throughout) for each in most]


def by_task(evaluations: Sequence[Evaluation]) -> list[list[Evaluation]]:
    """Evaluations grouped by task, in the order in which tasks first come."""
    groups: dict[str, list[Evaluation]] = {}
    for evaluation in evaluations:
        groups.setdefault(evaluation.task, []).append(evaluation)
    return list(groups.values())
