"""Scoring more tasks with a run that is fitted."""

import dataclasses
from collections.abc import Sequence

from kvorum.adapters import AdapterStack
from kvorum.errors import KvorumError
from kvorum.posterior.posterior import Posterior
from kvorum.posterior.progress import Progress
from kvorum.predictions import Predictions
from kvorum.run import Run
from kvorum.tasks import Task
from kvorum.tasks.sample import limit as limited


def evaluate_epochs(
    run: Run,
    posterior: Posterior,
    tasks: Sequence[Task],
    epochs: Sequence[int],
    *,
    limit: int | None = None,
    progress: Progress,
) -> None:
    """Score tasks at epochs, keeping the predictions in the run; the base model of the posterior serves all epochs.

    Raises `KvorumError` if the run already holds another task under the name of one of these.
    """
    tasks = to_score(run, tasks, limit)
    encoded = [posterior.encode(task.test) for task in tasks]
    with progress:
        for epoch in epochs:
            stack = AdapterStack.load(run.checked(run.adapters_file(epoch)))
            at_epoch = dataclasses.replace(posterior, stack=stack, facts=posterior.facts | {"epoch": epoch})
            for task, tokens in zip(tasks, encoded, strict=True):

                def scored(done: int, total: int, name: str = task.name, epoch: int = epoch) -> None:
                    progress.scored(epoch, name, done, total)

                keep(run, epoch, task, at_epoch.predict(task, encoded=tokens, progress=scored), progress)


def to_score(run: Run, tasks: Sequence[Task], limit: int | None) -> list[Task]:
    """The tasks, cut to so many questions as the run's settings say.

    Raises `KvorumError` if two of them are called the same, or the run already holds another under one's name.
    """
    names = [task.name for task in tasks]
    if double := {name for name in names if names.count(name) > 1}:
        raise KvorumError(f"two tasks are called '{double.pop()}'; name each once, or rename one of the files")
    for task in tasks:
        run.predictions_file(0, task.name)  # raises where no file can be called so
        _refuse_namesake(run, task)
    return [dataclasses.replace(task, test=limited(task.test, limit, run.config.limit_to)) for task in tasks]


def keep(run: Run, epoch: int, task: Task, predictions: Predictions, progress: Progress) -> None:
    """Save a task's predictions at an epoch, and say what they come to."""
    run.save_predictions(epoch, task.name, predictions)
    progress.numbers(epoch, task.name, run.numbers(epoch, task.name))


def _refuse_namesake(run: Run, task: Task) -> None:
    for epoch in run.epochs:
        if task.name in run.tasks(epoch):
            source = run.prediction_facts(epoch, task.name).get("source")
            if source != task.source:
                raise KvorumError(
                    f"{run.path} holds predictions on another '{task.name}' ({source}, not {task.source}); "
                    "rename the file"
                )
