"""Choosing questions to label, by what a posterior makes of them."""

import dataclasses
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from kvorum.acquisition import ACQUISITIONS, NEED_HIDDEN, AcquisitionName, Pool
from kvorum.active.pool import narrowed, pool_of
from kvorum.active.to_label import write_to_label
from kvorum.errors import KvorumError, nearest
from kvorum.posterior.hidden import HiddenMeans
from kvorum.posterior.posterior import Posterior
from kvorum.predictions import Predictions
from kvorum.tasks import Question, Task, load_task
from kvorum.tasks.same import same

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Acquired:
    """Questions worth a label, the most wanted first."""

    by: AcquisitionName
    questions: tuple[Question, ...]
    """Without answers."""
    scores: Float64[np.ndarray, "chosen"]
    """The acquisition function's, higher = more wanted: of each question what it adds to those before it."""
    entropy: Float64[np.ndarray, "chosen"]
    """Predictive entropy of the mean answer, in nats."""
    mutual_information: Float64[np.ndarray, "chosen"]
    """In nats."""
    pool: int
    """How many questions they were chosen from."""
    fitted: int
    """How many were left out before, since they were fitted on,"""
    repeats: int
    """and since they repeat another of the pool."""

    def save(self, path: str | Path) -> None:
        """Write a .jsonl or .csv file with an empty `answer`, ready to be labelled, and the scores beside.

        Raises `KvorumError` for a file that is there already: there may be labels in it.
        """
        scores = {"score": self.scores, "entropy": self.entropy, "mutual_information": self.mutual_information}
        write_to_label(path, self.questions, scores)


def acquire(
    posterior: Posterior,
    pool: Task | Sequence[Question] | str | Path,
    *,
    count: int,
    by: AcquisitionName = "mutual_information",
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Acquired:
    """The questions of a pool that are most worth a label to a posterior.

    `pool` is a task, whose training questions are taken, a file of questions, or questions; whatever labels they have
    play no part. Questions that the posterior was fitted on are left out, and each question is taken once. `seed`
    draws the lots. `progress` is told questions done and questions in all.

    Raises `KvorumError` for an unknown acquisition function, and where nothing is left to choose from. A pool that is
    smaller than `count` is taken whole, with a warning.
    """
    check_asked(count, by, seed)
    task = load_task(pool) if isinstance(pool, str | Path) else pool
    given = pool_of(task) if isinstance(task, Task) else tuple(task)
    left = narrowed(given, {same(*one) for one in posterior.fitted_on})
    if not left.questions:
        raise KvorumError(
            f"nothing is left to choose from: of {len(given)} questions {left.fitted} were fitted on already"
        )
    if len(left.questions) < count:
        log.warning("the pool holds %d questions, fewer than %d: all are taken", len(left.questions), count)
    questions = tuple(dataclasses.replace(q, answer=None) for q in left.questions)
    predictions, scored = score_pool(posterior, questions, hidden=by in NEED_HIDDEN, progress=progress)
    batch = ACQUISITIONS[by](scored, count, seed=seed)
    return Acquired(
        by=by,
        questions=tuple(questions[i] for i in batch.chosen),
        scores=batch.scores[batch.chosen],
        entropy=predictions.predictive_entropy[batch.chosen],
        mutual_information=predictions.mutual_information[batch.chosen],
        pool=len(questions),
        fitted=left.fitted,
        repeats=left.repeats,
    )


def check_asked(count: int, by: str, seed: int = 0) -> None:
    """Raise `KvorumError` for a batch of nothing, a function that there is not, and a seed below 0."""
    for name, value, least in (("count", count, 1), ("seed", seed, 0)):
        if value < least:
            raise KvorumError(f"{name} is {value}; it must be at least {least}")
    if by not in ACQUISITIONS:
        raise KvorumError(f"there is no acquisition function '{by}'{nearest(by, tuple(ACQUISITIONS))}")


def score_pool(
    posterior: Posterior,
    questions: Sequence[Question],
    *,
    hidden: bool,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Predictions, Pool]:
    """What the members make of a pool; `hidden`: with hidden states, also of what they were fitted on."""
    fitted = sorted(posterior.fitted_on) if hidden else []
    known = [Question(id=str(i), question=text, choices=choices) for i, (text, choices) in enumerate(fitted)]
    encoded = posterior.encode([*questions, *known])
    means = HiddenMeans([range(len(posterior.stack.active))], of=len(encoded)) if hidden else None
    with posterior.scoring(encoded) as scorer:
        probs, rest = scorer(encoded, progress, hidden=means)
    size = len(questions)
    predictions = posterior.predictions(questions, (probs[:, :size], rest[:, :size]))
    pool = Pool(
        probs=predictions.probs,
        rest=predictions.rest,
        hidden=means.means[0, :size] if means else None,
        labelled_hidden=means.means[0, size:] if means else None,
    )
    return predictions, pool
