"""Questions in shards: how tasks are cut, what a worker does with a shard, and how its scores become a task's again."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64, Int

from kvorum.cluster.part import Bases
from kvorum.cluster.refusals import NotHere
from kvorum.config import FitConfig
from kvorum.engine import verify_packed
from kvorum.errors import KvorumError
from kvorum.posterior.posterior import on_base, refuse_other_base
from kvorum.posterior.progress import Progress
from kvorum.posterior.scoring import Probabilities
from kvorum.posterior.stop import Stopped, StopRequest
from kvorum.tasks import Question, Task

PER_WORKER = 4
"""Shards of all work together for each worker, so that a slow one does not hold up all."""
FEWEST = 8
"""Questions of a shard, where its task has as many."""

Rows = Int[np.ndarray, "_"]
"""Places of questions in their task."""
ShardScores = tuple[Float64[np.ndarray, "member _ _"], Float64[np.ndarray, "member _"]]
"""`Probabilities` of a shard's questions, as wide as the widest of them."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shard:
    """Some questions of a task, to be put to the members of a run as they are at an epoch."""

    config: FitConfig
    """The run's, which names the base model."""
    run: str
    """What the run is called,"""
    base_revision: str | None
    """and which base model it was fitted on."""
    epoch: int
    task: str
    ensemble: Any
    """The `Ensemble`, or where it lies in the cluster's object store."""
    questions: Any
    """The tuple of `Question`, or where it lies there."""

    def fetched(self, get: Callable[[Any], Any]) -> "Shard":
        """The shard with what was in the object store."""
        return dataclasses.replace(self, ensemble=get(self.ensemble), questions=get(self.questions))


def cut(tasks: Sequence[Task], epochs: int, slots: int) -> list[list[Rows]]:
    """Of each task, which questions make a shard: `PER_WORKER` shards for each of `slots` over all tasks and epochs.

    The shards of a task are alike: each has as many questions, and as many long ones, as the others.
    """
    letters = [np.array([_letters(question) for question in task.test]) for task in tasks]
    each = epochs * sum(int(of.sum()) for of in letters) / (PER_WORKER * max(1, slots))
    shards = []
    for of in letters:
        number = max(1, min(round(int(of.sum()) / each), len(of) // FEWEST))
        by_length = np.argsort(-of, kind="stable")
        shards.append([by_length[first::number] for first in range(number)])
    return shards


def chosen(questions: Sequence[Question], rows: Rows) -> tuple[Question, ...]:
    """The questions of a shard."""
    return tuple(questions[row] for row in rows)


def score_shard(shard: Shard, bases: Bases, progress: Progress, stop: StopRequest) -> Probabilities:
    """Each active member's probabilities for a shard's questions, in their order.

    Raises `NotHere` where the base model is not the one that the run was fitted on, `KvorumError` where a question is
    too long for it, and `Stopped` where a stop was asked for.
    """
    base = bases.of(shard.config)
    try:
        refuse_other_base(base, shard.run, shard.base_revision)
    except KvorumError as error:
        raise NotHere(str(error)) from error
    verify_packed(base.model)
    posterior = on_base(shard.ensemble, base)
    encoded = posterior.encode(shard.questions)

    def scored(done: int, total: int) -> None:
        progress.scored(shard.epoch, shard.task, done, total)
        if stop.asked is not None and done < total:
            raise Stopped(f"stopped after {done} of {total} questions", stop.asked)

    with posterior.scoring(encoded) as scorer:
        return scorer(encoded, scored)


def joined(shards: Sequence[Rows], scores: Sequence[ShardScores]) -> Probabilities:
    """The probabilities of a whole task, of those of its shards."""
    questions = sum(len(rows) for rows in shards)
    members, width = len(scores[0][1]), max(probs.shape[2] for probs, _ in scores)
    probs, rest = np.zeros((members, questions, width)), np.zeros((members, questions))
    for rows, (some_probs, some_rest) in zip(shards, scores, strict=True):
        probs[:, rows, : some_probs.shape[2]] = some_probs
        rest[:, rows] = some_rest
    return probs, rest


def _letters(question: Question) -> int:
    return len(question.question) + sum(map(len, question.choices))
