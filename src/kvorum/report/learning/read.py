"""What an experiment left behind, read once: the records and the scores of every round that is done for all seeds."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from kvorum.active.records import Learned, Record
from kvorum.errors import KvorumError
from kvorum.predictions import Predictions

SCORES = ("accuracy", "nll", "entropy", "mutual_information")
RANDOM = "random"


@dataclass(frozen=True, kw_only=True, slots=True)
class Test:
    """A test task."""

    task: str
    questions: int
    known: int
    """Questions whose answer is known, which accuracy and NLL are over."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Rounds:
    """The rounds of an acquisition function, round 0 among them."""

    acquisition: str
    labels: tuple[int, ...]
    """Fitted on, round by round."""
    records: tuple[tuple[Record, ...], ...]
    """Of each round, one a seed."""
    scores: Mapping[str, Mapping[str, Float64[np.ndarray, "round seed"]]]
    """By test task and by `SCORES`; entropies are means over the questions."""

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, kw_only=True, eq=False)
class Read:
    """All of it."""

    learned: Learned
    tests: tuple[Test, ...]
    functions: tuple[Rounds, ...]
    """Random first, where it is among them."""

    @property
    def random(self) -> Rounds | None:
        """What the others are compared to."""
        return next((rounds for rounds in self.functions if rounds.acquisition == RANDOM), None)


def read(learned: Learned) -> Read:
    """Read an experiment as far as it is done; raises `KvorumError` for damaged files, and where no round is done."""
    if not learned.done(RANDOM, 0):
        raise KvorumError(f"{learned.path}: not even the start is done for all seeds; go on with the experiment first")
    reader = _Reader(learned)
    names = sorted(learned.config.acquisitions, key=lambda name: name != RANDOM)
    functions = tuple(reader.rounds(name) for name in names)
    return Read(learned=learned, tests=tuple(reader.tests.values()), functions=functions)


class _Reader:
    """Reads the start, which all functions share, once; holds the questions of a task to those first met."""

    def __init__(self, learned: Learned):
        self.learned = learned
        self.tests: dict[str, Test] = {}
        self._questions: dict[str, tuple[tuple[str, ...], list[int]]] = {}
        self._start: dict[tuple[str, int], tuple[float, ...]] = {}
        self._start_records: tuple[Record, ...] | None = None

    def rounds(self, acquisition: str) -> Rounds:
        numbers, seeds = range(self.learned.rounds(acquisition)), self.learned.config.seeds
        records = tuple(self._records(acquisition, number) for number in numbers)
        scores: dict[str, dict[str, np.ndarray]] = {}
        for task in self.learned.tests:
            found = np.array([[self._score(acquisition, number, seed, task) for seed in seeds] for number in numbers])
            scores[task] = {name: found[:, :, place] for place, name in enumerate(SCORES)}
        labels = tuple(self._labels(acquisition, number, of_round) for number, of_round in enumerate(records))
        return Rounds(acquisition=acquisition, labels=labels, records=records, scores=scores)

    def _records(self, acquisition: str, number: int) -> tuple[Record, ...]:
        if number == 0 and self._start_records is not None:
            return self._start_records
        records = tuple(self.learned.record(acquisition, number, seed) for seed in self.learned.config.seeds)
        if number == 0:
            self._start_records = records
        return records

    def _labels(self, acquisition: str, number: int, records: tuple[Record, ...]) -> int:
        labels = {record.labels for record in records}
        if len(labels) > 1:
            folder = self.learned.folder(acquisition, number)
            raise KvorumError(
                f"{folder}: the seeds have {', '.join(map(str, sorted(labels)))} labels; expected as many for each. "
                "They are of different experiments: remove those that are not of this one"
            )
        return labels.pop()

    def _score(self, acquisition: str, number: int, seed: int, task: str) -> tuple[float, ...]:
        if number == 0 and (task, seed) in self._start:
            return self._start[task, seed]
        predictions = self.learned.test(acquisition, number, seed, task)
        self._check(predictions, task, self.learned.test_file(acquisition, number, seed, task))
        found = (
            predictions.accuracy(),
            predictions.nll(),
            float(predictions.predictive_entropy.mean()),
            float(predictions.mutual_information.mean()),
        )
        if number == 0:
            self._start[task, seed] = found
        return found

    def _check(self, predictions: Predictions, task: str, file: object) -> None:
        asked = (predictions.ids, predictions.answers.tolist())
        if self._questions.setdefault(task, asked) != asked:
            raise KvorumError(
                f"{file}: holds other questions than the first round scored of {task}; curves compare the same "
                "questions only. Remove the rounds that were scored on others, and they are made again"
            )
        known = int(predictions.labelled.sum())
        self.tests.setdefault(task, Test(task=task, questions=len(predictions), known=known))
