"""What a server answers from: a posterior, its rules of decision, and the questions that its run has scored."""

import dataclasses
import logging
from functools import lru_cache
from importlib.metadata import version

import numpy as np

from kvorum.decisions import Calibration, decide
from kvorum.decisions.words import why
from kvorum.errors import KvorumError, nearest
from kvorum.posterior.posterior import Posterior
from kvorum.predictions import Predictions
from kvorum.run import Run
from kvorum.serve.options import ServeOptions
from kvorum.serve.schema import (
    Answer,
    Decision,
    Described,
    Entropies,
    Example,
    Examples,
    Member,
    Plane,
    TaskOf,
)
from kvorum.tasks import EncodedQuestion, Question
from kvorum.uncertainty.plane import QUADRANTS

log = logging.getLogger(__name__)

MOST_POINTS = 1000
"""On the page's plane."""


class WrongQuestion(KvorumError):
    """A question that cannot be asked, and its place in the request."""

    def __init__(self, place: int, field: str, message: str) -> None:
        super().__init__(message)
        self.field = f"questions[{place}].{field}"


class NoSuchTask(KvorumError):
    """A task that the run has not scored."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Served:
    """A posterior with what is known of it."""

    posterior: Posterior
    calibration: Calibration | None = None
    run: Run | None = None
    epoch: int | None = None

    def trial(self) -> list[EncodedQuestion]:
        """Questions to try the model on."""
        choices = ("yes", "no", "neither of the two")
        return self.posterior.encode(
            [Question(id=str(count), question="Is this so? " * count, choices=choices) for count in (1, 3)]
        )

    def prepare(self, questions: list[Question], options: ServeOptions) -> list[EncodedQuestion]:
        """The tokens of questions. Raises `WrongQuestion` for one that is too long, or that has no such tokens."""
        encoded = []
        for place, question in enumerate(questions):
            try:
                (one,) = self.posterior.encode([question])
            except KvorumError as error:
                raise WrongQuestion(place, "question", str(error)) from None
            tokens = len(one.prompt) + sum(map(len, one.candidates))
            if tokens > options.max_tokens:
                raise WrongQuestion(
                    place,
                    "question",
                    f"it has {tokens} tokens with its choices; this server takes {options.max_tokens}",
                )
            encoded.append(one)
        return encoded

    def answers(self, predictions: Predictions) -> list[Answer]:
        """What goes back, in the order of the questions."""
        decided = self._decisions(predictions)
        members = predictions.facts["members"]
        votes = predictions.probs.argmax(axis=2)
        found = []
        for row, choices in enumerate(predictions.choices):
            decision = decided[row] if decided else None
            mean, rest = (
                (decision[1], decision[2]) if decision else (predictions.mean[row], float(predictions.mean_rest[row]))
            )
            top = int(predictions.predicted[row])
            answers = decision[0].answered if decision else self.calibration is None
            found.append(
                Answer(
                    id=predictions.ids[row],
                    answer=choices[top] if answers else None,
                    top=top,
                    probabilities=mean[: len(choices)].tolist(),
                    rest=float(rest),
                    entropy=Entropies(
                        predictive=float(predictions.predictive_entropy[row]),
                        expected=float(predictions.expected_entropy[row]),
                        mutual_information=float(predictions.mutual_information[row]),
                    ),
                    members=[
                        Member(
                            member=member,
                            vote=int(votes[place, row]),
                            probabilities=predictions.probs[place, row, : len(choices)].tolist(),
                        )
                        for place, member in enumerate(members)
                    ],
                    decision=decision[0] if decision else None,
                )
            )
        return found

    def _decisions(self, predictions: Predictions) -> list[tuple[Decision, np.ndarray, float]]:
        """Of each question the decision, and the probabilities and rest at the calibration's temperature."""
        if self.calibration is None or self._short_of(predictions):
            return []
        decisions, rule = decide(predictions, self.calibration), self.calibration.answer
        return [
            (
                Decision(
                    answered=bool(decisions.answered[row]),
                    score=rule.score,
                    doubt=float(decisions.doubt[row]),
                    threshold=rule.threshold,
                    kind=QUADRANTS[decisions.quadrant[row]],
                    sets={method: np.flatnonzero(rows[row]).tolist() for method, rows in decisions.sets.items()},
                    why=why(decisions, self.calibration, row),
                ),
                decisions.mean[row],
                float(decisions.rest[row]),
            )
            for row in range(len(predictions))
        ]

    def _short_of(self, predictions: Predictions) -> bool:
        """Whether members have no finite probabilities there, so that rules made for all of them do not hold."""
        return len(predictions.facts["members"]) < len(self.posterior.stack.active)

    def described(self, options: ServeOptions) -> Described:
        """What runs here."""
        posterior, facts = self.posterior, self.posterior.facts
        limits = ("queue", "time_limit", "max_body", "max_questions", "max_choices", "max_characters", "max_tokens")
        return Described(
            kvorum=version("kvorum"),
            run=self.run.path.name if self.run else None,
            model=posterior.base.name,
            base_revision=posterior.base.revision or None,
            epoch=self.epoch,
            fitted_on=facts.get("fitted_on"),
            members=[posterior.stack.members[place] for place in posterior.stack.active],
            diverged={str(member): reason for member, reason in posterior.stack.diverged.items()},
            answer_format=posterior.prompt.answer_format,
            prompt_template=posterior.prompt.template,
            calibration=self.calibration.as_dict() if self.calibration else None,
            limits={name: float(getattr(options, name)) for name in limits},
            tasks=[TaskOf(task=task, questions=self._count(task)) for task in self.tasks if self._readable(task)],
        )

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks whose questions can be picked."""
        return self.run.tasks(self.epoch) if self.run and self.epoch is not None else ()

    def examples(self, task: str, offset: int, limit: int) -> Examples:
        """Some questions of a task, in its order. Raises `NoSuchTask` for one that is not there."""
        predictions = self._predictions(task)
        places = range(offset, min(offset + limit, len(predictions)))
        return Examples(
            task=task,
            total=len(predictions),
            questions=[
                Example(
                    id=predictions.ids[place],
                    question=predictions.questions[place],
                    choices=list(predictions.choices[place]),
                    subject=predictions.subjects[place],
                    answer=int(predictions.answers[place]) if predictions.labelled[place] else None,
                )
                for place in places
            ],
        )

    def plane(self) -> Plane | None:
        """Where the calibration questions stand, else those of the run's first task; None without any."""
        there = self.tasks
        if not there:
            return None
        task = self.calibration.task if self.calibration and self.calibration.task in there else there[0]
        predictions = self._predictions(task)
        # As many as a page can draw, evenly out of all.
        rows = np.unique(np.linspace(0, len(predictions) - 1, min(MOST_POINTS, len(predictions))).astype(np.int64))
        entropy, information = predictions.predictive_entropy, predictions.mutual_information
        cuts = self.calibration
        return Plane(
            task=task,
            predictive_entropy=entropy[rows].tolist(),
            mutual_information=information[rows].tolist(),
            right=[bool(predictions.correct[row]) if predictions.labelled[row] else None for row in rows],
            entropy_cut=cuts.entropy_cut if cuts else float(np.median(entropy)),
            mi_cut=cuts.mi_cut if cuts else float(np.median(information)),
        )

    def _predictions(self, task: str) -> Predictions:
        if self.run is None or self.epoch is None or task not in self.tasks:
            raise NoSuchTask(f"there is no task '{task[:80]}' here{nearest(task[:80], self.tasks)}")
        file = self.run.name_of(self.run.predictions_file(self.epoch, task))
        return _read(self.run, self.epoch, task, self.run.manifest.files[file].sha256)

    def _readable(self, task: str) -> bool:
        try:
            return self._count(task) > 0
        except KvorumError as error:
            log.warning("%s cannot be picked: %s", task, error)
            return False

    def _count(self, task: str) -> int:
        assert self.run is not None and self.epoch is not None
        return int(self.run.numbers(self.epoch, task)["questions"])


@lru_cache(maxsize=4)
def _read(run: Run, epoch: int, task: str, sha256: str) -> Predictions:
    """Kept, since the page asks again and again, and reading takes a while; until the file is another."""
    return run.predictions(epoch, task)
