"""The questions that can be chosen from: without those that are known already, and without the test."""

import dataclasses
import logging
from collections.abc import Collection, Mapping, Sequence

from kvorum.errors import KvorumError
from kvorum.run import Run
from kvorum.tasks import Question, Task
from kvorum.tasks.same import Sameness, same, sameness

log = logging.getLogger(__name__)


def pool_of(task: Task) -> tuple[Question, ...]:
    """The questions of a task that may be chosen: those to fit on, never those to be evaluated on.

    Raises `KvorumError` for a task that has none.
    """
    if not task.train:
        raise KvorumError(f"pool {task.name}: it has no training split, and is for evaluation alone")
    return task.train


def tested_by(run: Run) -> dict[str, set[Sameness]]:
    """The questions that a run is scored on, by the task."""
    found: dict[str, set[Sameness]] = {}
    for epoch, task in sorted(run.scores()):
        if task not in found or epoch == run.newest_epoch:
            predictions = run.predictions(epoch, task)
            asked = set(map(same, predictions.questions, predictions.choices))
            found[task] = found.get(task, set()) | asked
    return found


def without_tested(
    pool: Sequence[Question], tested: Mapping[str, Collection[Sameness]], *, leave_out: bool
) -> tuple[Question, ...]:
    """A pool without what it is tested on, which must not be fitted on.

    `tested`: the questions of each test, by its name. Raises `KvorumError`, with the count, for a pool that overlaps
    them, unless such questions are to be left out.
    """
    found = {name: sum(sameness(q) in questions for q in pool) for name, questions in tested.items()}
    every = set().union(*tested.values()) if tested else set()
    left = tuple(q for q in pool if sameness(q) not in every)
    if len(left) == len(pool):
        return left
    where = ", ".join(f"{number} of {name}" for name, number in found.items() if number)
    said = f"{len(pool) - len(left)} of the pool's {len(pool)} questions are among the test questions ({where})"
    if not leave_out:
        raise KvorumError(
            f"{said}; fitted on, they would spoil the test: take them out of the pool, or leave them out with "
            "leave_out_tested (--leave-out-tested)"
        )
    if not left:
        raise KvorumError(f"{said}, so that nothing is left to choose from")
    log.warning("%s; left out", said)
    return left


@dataclasses.dataclass(frozen=True, kw_only=True)
class Narrowed:
    """A pool without what there is nothing to ask of."""

    questions: tuple[Question, ...]
    fitted: int
    """How many were left out since they were fitted on,"""
    repeats: int
    """and since they repeat an earlier one."""


def narrowed(pool: Sequence[Question], fitted: Collection[Sameness]) -> Narrowed:
    """A pool without questions that were fitted on, and each question once."""
    new = [(sameness(q), q) for q in pool if sameness(q) not in fitted]
    once: dict[Sameness, Question] = {}
    for same_as, question in new:
        once.setdefault(same_as, question)
    return Narrowed(questions=tuple(once.values()), fitted=len(pool) - len(new), repeats=len(new) - len(once))
