"""Scoring more tasks with a run that is fitted."""

import dataclasses
from collections.abc import Sequence

from kvorum.adapters import AdapterStack
from kvorum.errors import KvorumError
from kvorum.posterior.posterior import Posterior
from kvorum.posterior.progress import Progress
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
    for task in tasks:
        _refuse_namesake(run, task)
    tasks = [dataclasses.replace(task, test=limited(task.test, limit, run.config.limit_to)) for task in tasks]
    encoded = [posterior.encode(task.test) for task in tasks]
    with progress:
        for epoch in epochs:
            stack = AdapterStack.load(run.checked(run.adapters_file(epoch)))
            at_epoch = dataclasses.replace(posterior, stack=stack, facts=posterior.facts | {"epoch": epoch})
            for task, tokens in zip(tasks, encoded, strict=True):

                def scored(done: int, total: int, name: str = task.name, epoch: int = epoch) -> None:
                    progress.scored(epoch, name, done, total)

                predictions = at_epoch.predict(task, encoded=tokens, progress=scored)
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
