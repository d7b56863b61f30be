"""What an active-learning experiment leaves behind, and how it is read again.

```
OUT/config.yaml                                  what was asked
OUT/rounds/start/00/seed-0.json                  a record: what was labelled before this round's fit, what came of it
OUT/rounds/start/00/seed-0-test-TASK.parquet     predictions on a test task after the fit
OUT/rounds/start/00/seed-0-pool.parquet          predictions on the pool questions that were scored
OUT/rounds/mutual_information/01/seed-0.json     the first round by an acquisition function
OUT/report/index.html
```

Round 0 is the same for all acquisition functions. A record is written after the predictions that it vouches for.
"""

import dataclasses
import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kvorum.active.config import LearnConfig, Part, learn_config, name_of
from kvorum.bounded import read_bounded
from kvorum.config import describe_errors, read_yaml
from kvorum.errors import KvorumError
from kvorum.files import atomic, make_folder, remove, sha256
from kvorum.predictions import Predictions

CONFIG = "config.yaml"
ROUNDS = "rounds"
START = "start"
"""The folder of round 0."""
LARGEST_RECORD = 2**26

Count = Annotated[int, Field(ge=0)]
Nats = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Added(_Strict):
    """A question that was labelled before a round's fit."""

    id: str
    part: str
    """The task in the pool that it comes from."""
    subject: str
    score: Annotated[float, Field(allow_inf_nan=False)] | None
    """The acquisition function's, when it was chosen; null for the start, which is drawn by lot."""
    entropy: Nats | None
    """Of the mean answer, when it was chosen; null for the start."""
    mutual_information: Nats | None
    repeats: bool
    """Whether the same question, but for case, spaces and the order of its choices, was labelled before it."""


class PartState(_Strict):
    """What the members make of the unlabelled questions of a part of the pool, after a round's fit."""

    part: str
    questions: Count
    """How many were scored and are not labelled."""
    entropy: Nats | None
    """Mean predictive entropy; null where there is no question."""
    mutual_information: Nats | None


class Record(_Strict):
    """One round of one seed under one acquisition function."""

    format: Literal["kvorum round 1"] = "kvorum round 1"
    acquisition: str
    """Its name, or start."""
    round: Count
    seed: Count
    labels: Count
    """Questions fitted on."""
    labelled: Sha256 | None = None
    """A digest of their ids, by which it is known whether it belongs to the rounds before it."""
    added: list[Added]
    """Those among them that were labelled just before."""
    pool: list[PartState]
    files: dict[str, Sha256]
    """The files that belong to it, by their names."""


def is_experiment(path: Path) -> bool:
    """Whether a directory holds an experiment."""
    return (path / CONFIG).is_file() and (path / ROUNDS).is_dir()


@dataclasses.dataclass(frozen=True)
class Learned:
    """The directory of an experiment."""

    path: Path
    config: LearnConfig

    @classmethod
    def open(cls, path: str | Path) -> "Learned":
        """The experiment in a directory; raises `KvorumError` where there is none."""
        path = Path(path)
        if not (path / CONFIG).is_file():
            raise KvorumError(f"{path} holds no active-learning experiment: there is no {path / CONFIG}")
        settings = read_yaml(path / CONFIG)
        settings.pop("facts", None)
        return cls(path, learn_config(settings, where=str(path / CONFIG)))

    @cached_property
    def facts(self) -> Mapping[str, Any]:
        """What was found besides what was asked: versions, the base model's revision, digests of the questions."""
        found = read_yaml(self.path / CONFIG).get("facts", {})
        return found if isinstance(found, dict) else {}

    @property
    def tests(self) -> tuple[str, ...]:
        """The names of the test tasks, the one that reports are about first."""
        return tuple(map(name_of, self.config.test))

    @property
    def parts(self) -> dict[str, Part]:
        """The parts of the pool by the names that records have for them."""
        return {name_of(part.task): part for part in self.config.pool}

    def folder(self, acquisition: str, number: int) -> Path:
        """Of a round, which for round 0 is the same for all acquisition functions."""
        return self.path / ROUNDS / (acquisition if number else START) / f"{number:02d}"

    def record_file(self, acquisition: str, number: int, seed: int) -> Path:
        """Of a round's record."""
        return self.folder(acquisition, number) / f"seed-{seed}.json"

    def test_file(self, acquisition: str, number: int, seed: int, task: str) -> Path:
        """Of a round's predictions on a test task, by its name or file."""
        return self.folder(acquisition, number) / f"seed-{seed}-test-{name_of(task)}.parquet"

    def pool_file(self, acquisition: str, number: int, seed: int) -> Path:
        """Of a round's predictions on the pool."""
        return self.folder(acquisition, number) / f"seed-{seed}-pool.parquet"

    def hidden_file(self, acquisition: str, number: int, seed: int) -> Path:
        """Of hidden states after a round, where a function looks at them."""
        return self.folder(acquisition, number) / f"seed-{seed}-hidden.safetensors"

    def adapters_file(self, acquisition: str, number: int, seed: int) -> Path:
        """Of a seed's members after a round, where the next one goes on from them."""
        return self.folder(acquisition, number) / f"seed-{seed}-adapters.safetensors"

    def rounds(self, acquisition: str) -> int:
        """How many rounds are done for all seeds, round 0 among them."""
        number = 0
        while number <= self.config.rounds and self.done(acquisition, number):
            number += 1
        return number

    def done(self, acquisition: str, number: int) -> bool:
        """Whether a round is there for all seeds."""
        return all(self.record_file(acquisition, number, seed).is_file() for seed in self.config.seeds)

    def record(self, acquisition: str, number: int, seed: int) -> Record:
        """The record of a round; raises `KvorumError` where it is missing or damaged."""
        file = self.record_file(acquisition, number, seed)
        try:
            found = Record.model_validate(json.loads(read_bounded(file, LARGEST_RECORD)))
        except OSError as error:
            raise KvorumError(f"{self.said(file)}: cannot be read: {error.strerror}") from None
        except ValidationError as error:
            raise KvorumError(f"{self.said(file)}: is no record that kvorum wrote: {describe_errors(error)}") from None
        except (ValueError, RecursionError) as error:
            raise KvorumError(f"{self.said(file)}: is no record that kvorum wrote: {error}") from None
        return found

    def checked(self, acquisition: str, number: int, seed: int, file: Path) -> Path:
        """A file of a round, held against its record; raises `KvorumError` for one that is missing or damaged."""
        record = self.record(acquisition, number, seed)
        if not file.is_file() or record.files.get(file.name) != sha256(file):
            raise KvorumError(
                f"{self.said(file)}: is missing or not what was written; remove "
                f"{self.said(self.record_file(acquisition, number, seed))}, and it is made again"
            )
        return file

    def save(self, record: Record) -> None:
        """Write a record; the files that it names are there already."""
        file = self.record_file(record.acquisition, record.round, record.seed)
        make_folder(file.parent)
        with atomic(file) as temporary:
            temporary.write_text(record.model_dump_json(indent=1) + "\n", encoding="utf-8")

    def let_go(self, file: Path) -> None:
        """Remove a file that no later round needs, if it is there."""
        remove(file)

    def said(self, file: Path) -> str:
        """Where a file of it lies, in words."""
        return str(file)

    def test(self, acquisition: str, number: int, seed: int, task: str) -> Predictions:
        """Predictions on a test task after a round's fit."""
        file = self.test_file(acquisition, number, seed, task)
        return Predictions.load(self.checked(acquisition, number, seed, file))

    def pool(self, acquisition: str, number: int, seed: int) -> Predictions:
        """Predictions on the pool questions that were scored after a round's fit."""
        return Predictions.load(self.checked(acquisition, number, seed, self.pool_file(acquisition, number, seed)))
