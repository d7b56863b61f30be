"""A run as a comparison reads it: all of its members or the first few, with their numbers."""

from dataclasses import replace
from functools import cached_property
from typing import Any

from kvorum.errors import KvorumError
from kvorum.predictions import Predictions
from kvorum.report.analysis import best_epoch
from kvorum.report.evaluations import Evaluation, by_task, common_ground, read_evaluations
from kvorum.run import Run
from kvorum.uncertainty import summarize


class ComparedRun:
    """A run's evaluations, of all its members or of the first `members` that never diverged.

    Raises `KvorumError` where nothing is scored, or there are fewer members.
    """

    def __init__(self, run: Run, name: str, members: int | None = None) -> None:
        self.run = run
        self.name = name
        self.size = run.config.members if members is None else members
        evaluations = read_evaluations(run)
        if not evaluations:
            raise KvorumError(f"{run.path}: nothing is scored yet, so there is nothing to compare")
        self._by_task = {of[0].task: {evaluation.epoch: evaluation for evaluation in of} for of in by_task(evaluations)}
        self._numbers: dict[tuple[str, int], dict[str, Any]] = {}
        self._held: Evaluation | None = None
        self._chosen = None if members is None else self._first(members)

    def _first(self, members: int) -> frozenset[int] | None:
        """The members to keep; None for all. The same ones at every epoch."""
        if members < 1:
            raise KvorumError(f"members is {members}; a comparison needs at least 1 of each run")
        everywhere = self.throughout
        if len(everywhere) < members:
            diverged = self.run.config.members - len(everywhere)
            left = f" ({diverged} of its {self.run.config.members} diverged)" if diverged else ""
            raise KvorumError(f"{self.run.path} has {len(everywhere)} members to compare{left}, fewer than {members}")
        chosen = frozenset(sorted(everywhere)[:members])
        evaluations = (evaluation for of in self._by_task.values() for evaluation in of.values())
        return None if all(set(evaluation.members) == chosen for evaluation in evaluations) else chosen

    @cached_property
    def throughout(self) -> frozenset[int]:
        """The members that answered every task at every epoch: those that never diverged."""
        evaluations = (evaluation for of in self._by_task.values() for evaluation in of.values())
        return frozenset.intersection(*(frozenset(evaluation.members) for evaluation in evaluations))

    @property
    def tasks(self) -> list[str]:
        """The tasks scored, the one fitted on first."""
        return list(self._by_task)

    def epochs(self, task: str) -> list[int]:
        """The epochs at which a task is scored, ascending; none for a task that is not."""
        return list(self._by_task.get(task, {}))

    @cached_property
    def best(self) -> int | None:
        """The epoch of best NLL on the first task, by the members compared."""
        task = self.tasks[0]
        fitted = [
            replace(of, numbers=self.numbers(task, epoch), only=self._chosen)
            for epoch, of in self._by_task[task].items()
            if epoch
        ]
        return best_epoch(common_ground(fitted))

    @property
    def last(self) -> int:
        """The last epoch at which anything is scored."""
        return max(epoch for of in self._by_task.values() for epoch in of)

    @property
    def diverged(self) -> dict[int, str]:
        """Members that diverged and where, of those that would be compared."""
        if self._chosen is not None:
            return {}
        return {
            member: where
            for of in self._by_task.values()
            for evaluation in of.values()
            for member, where in evaluation.diverged.items()
        }

    def fitted_on(self, task: str) -> bool:
        """Whether it is the task that the run was fitted on."""
        return next(iter(self._by_task[task].values())).in_domain

    def trained_on(self, task: str) -> int:
        """How many of the task's questions the members were fitted on."""
        return max(evaluation.fitted_on for evaluation in self._by_task[task].values())

    def evaluation(self, task: str, epoch: int) -> Evaluation:
        """A task at an epoch. Only the one asked for last keeps its predictions: a run's need not fit in memory."""
        if self._held is None or (self._held.task, self._held.epoch) != (task, epoch):
            self._held = replace(self._by_task[task][epoch])
        return self._held

    def chosen(self, evaluation: Evaluation) -> Predictions:
        """The predictions of the members compared."""
        if self._chosen is None:
            return evaluation.predictions
        places = [place for place, member in enumerate(evaluation.members) if member in self._chosen]
        return evaluation.predictions.select(members=places)

    def numbers(self, task: str, epoch: int) -> dict[str, Any]:
        """What `uncertainty.summarize` says of the members compared."""
        if self._chosen is None:
            return self._by_task[task][epoch].numbers
        if (task, epoch) not in self._numbers:
            chosen = self.chosen(self.evaluation(task, epoch))
            self._numbers[task, epoch] = summarize(chosen.probs, chosen.rest, chosen.answers)
        return self._numbers[task, epoch]
