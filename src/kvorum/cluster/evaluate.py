"""Scoring tasks with a run on the workers of a cluster: questions in shards, joined as soon as all are there."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kvorum.adapters import AdapterStack
from kvorum.cluster.dispatch import Dispatch, Ended, Work, reasons
from kvorum.cluster.ray_cluster import Cluster
from kvorum.cluster.score import Rows, Shard, chosen, cut, joined
from kvorum.cluster.view import View
from kvorum.errors import KvorumError
from kvorum.posterior.evaluate import keep, to_score
from kvorum.posterior.posterior import ensemble_of, questions_fitted, refuse_untrusted, source_facts
from kvorum.posterior.progress import Progress
from kvorum.posterior.scoring import Probabilities
from kvorum.posterior.stop import Stopped
from kvorum.run import Run
from kvorum.tasks import Task

Runner = Callable[[Mapping[str, Shard], Ended], Mapping[str, str]]
"""Scores shards, by their names, and tells of each that is done; returns why those failed that did."""


@dataclasses.dataclass
class _Scoring:
    """A task at an epoch, and the scores of its shards that are there."""

    epoch: int
    task: Task
    rows: list[Rows]
    scores: dict[int, Probabilities] = dataclasses.field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.task.name} at epoch {self.epoch}"


def evaluate_in_shards(
    run: Run,
    tasks: Sequence[Task],
    epochs: Sequence[int],
    runner: Runner,
    *,
    slots: int = 1,
    put: Callable[[Any], Any] = lambda value: value,
    limit: int | None = None,
    trust_remote_code: bool = False,
    progress: Progress,
) -> None:
    """Score tasks at epochs, keeping the predictions in the run, each task's at an epoch once all of them are there.

    `slots`: how many workers there are. `put` lays what shards share where all workers find it. `progress` is told the
    numbers alone, and not begun.

    Raises `KvorumError` if the run already holds another task under the name of one of these, and for shards that
    failed, once all others are done and what is whole of them is kept.
    """
    refuse_untrusted(run, trust_remote_code)
    tasks, epochs = to_score(run, tasks, limit), tuple(dict.fromkeys(epochs))
    fitted_on = questions_fitted(run)
    cuts = cut(tasks, len(epochs), slots)
    questions = [[put(chosen(task.test, rows)) for rows in shards] for task, shards in zip(tasks, cuts, strict=True)]
    shards: dict[str, Shard] = {}
    pieces: dict[str, tuple[_Scoring, int]] = {}
    for epoch in epochs:
        # The questions that it was fitted on, which can be many, are of no use there.
        ensemble = put(ensemble_of(run, _stack(run, epoch), epoch, frozenset()))
        for task, rows, asked in zip(tasks, cuts, questions, strict=True):
            whole = _Scoring(epoch, task, rows)
            for number, some in enumerate(asked):
                name = f"{whole}: {number + 1} of {len(asked)}"
                pieces[name] = whole, number
                shards[name] = Shard(
                    config=dataclasses.replace(run.config, trust_remote_code=trust_remote_code, device="auto"),
                    run=str(run.path),
                    base_revision=run.facts.get("base_revision"),
                    epoch=epoch,
                    task=task.name,
                    ensemble=ensemble,
                    questions=some,
                )
    failed: list[tuple[str, str]] = []

    def ended(name: str, scores: Probabilities) -> None:
        whole, number = pieces[name]
        whole.scores[number] = scores
        if len(whole.scores) < len(whole.rows):
            return
        scores = joined(whole.rows, [whole.scores.pop(place) for place in range(len(whole.rows))])
        ensemble = ensemble_of(run, _stack(run, whole.epoch), whole.epoch, fitted_on)
        try:
            predictions = ensemble.predictions(whole.task.test, scores, source_facts(whole.task))
            keep(run, whole.epoch, whole.task, predictions, progress)
        except (KvorumError, OSError) as error:
            failed.append((str(whole), str(error)))

    failed += [(str(pieces[name][0]), why) for name, why in runner(shards, ended).items()]
    if failed:
        number = len({whole for whole, _ in failed})
        raise KvorumError(
            f"{number} of {len(tasks) * len(epochs)} scorings failed, the others are kept: {reasons(failed)}"
        )


def on_ray(cluster: Cluster, view: View) -> Runner:
    """A runner that has shards scored on the workers of a cluster."""

    def run(shards: Mapping[str, Shard], ended: Ended) -> Mapping[str, str]:
        dispatch = Dispatch(cluster, {name: Work("score", shard) for name, shard in shards.items()}, view, ended=ended)
        try:
            dispatch.run()
        except Stopped as stopped:
            # What is kept are whole tasks, and the same command does not go on from there.
            raise Stopped("", stopped.signal) from None
        return dispatch.failed

    return run


def _stack(run: Run, epoch: int) -> AdapterStack:
    return AdapterStack.load(run.checked(run.adapters_file(epoch)))
