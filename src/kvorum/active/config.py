"""What an active-learning experiment is: the pool, the rounds, the acquisition functions, the seeds."""

import dataclasses
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from pydantic.fields import FieldInfo

from kvorum.acquisition.names import ACQUISITION_NAMES, AcquisitionName
from kvorum.config import FitConfig, describe_errors, fit_config, read_yaml
from kvorum.errors import KvorumError, nearest
from kvorum.tasks.files import SUFFIXES

NOT_OF_A_FIT = {
    "task": "pool",
    "evaluate": "test",
    "out": "out",
    "train_limit": "the limit of a part of the pool",
    "members": "members",
    "seed": "seeds",
    "warm_start": "start",
    "track": "nowhere",
}
"""Settings of a fit that an experiment has its own place for."""
POOL = "pool"
"""What the pool is called as a task."""


def name_of(task: str) -> str:
    """What records and files call a task: a file of questions goes by its name without the ending."""
    path = Path(task)
    return path.stem if path.suffix.lower() in SUFFIXES else task


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", use_attribute_docstrings=True))
class Part:
    """A part of the pool."""

    task: str
    """A named task, whose training questions are taken, or a .jsonl, .csv or .parquet file of questions."""
    limit: int | None = None
    """Take N of its questions only: those that settings.limit_to says."""
    labels: Literal["true", "random"] = "true"
    """What is revealed: the right answers, or answers drawn by lot, from which nothing can be learned."""

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise KvorumError(f"limit is {self.limit}; it must be at least 1")


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", use_attribute_docstrings=True))
class LearnConfig:
    """A loop of labelling and fitting, for several acquisition functions and seeds."""

    out: str
    """The directory: rounds/ and report/ in it."""
    settings: dict[str, Any]
    """Of every fit, any but those that have a place of their own here: model, epochs, lr, evaluate_limit, ..."""
    pool: tuple[Part, ...]
    """Where questions are chosen from: a list of tasks, each with limit and labels."""
    test: tuple[str, ...]
    """Tasks that every round is scored on; never chosen from. The first is the one that reports are about."""
    acquisitions: tuple[AcquisitionName, ...] = ("random", "mutual_information")
    """Acquisition functions to compare."""
    initial: int = 20
    """Questions labelled at the start, drawn by lot; the same ones for every acquisition function."""
    batch: int = 20
    """Questions labelled in a round."""
    rounds: int = 5
    """Rounds after the start."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Repetitions: each has its own start, initial questions and members."""
    members: int = 5
    """Adapters in the ensemble of a seed."""
    start: Literal["prior", "posterior"] = "prior"
    """Where the members of a round start: from the untouched model, or from where the round before ended."""
    candidates: int | None = None
    """Score N questions of the pool in a round, drawn by lot, and choose among those; null: all that are left."""
    leave_out_tested: bool = False
    """Leave pool questions out that are among the test questions, instead of refusing the pool."""
    targets: tuple[float, ...] = ()
    """Accuracies on the first test task for which the labels needed are told; empty: quarters of random's way."""

    def __post_init__(self) -> None:
        for name in ("initial", "batch", "rounds", "members"):
            if not 1 <= getattr(self, name) <= 10**6:
                raise KvorumError(f"{name} is {getattr(self, name)}; it must be at least 1 and at most a million")
        if POOL in map(name_of, self.test):
            raise KvorumError(f"a test is called '{POOL}', as the pool is; rename its file")
        if self.candidates is not None and self.candidates < self.batch:
            raise KvorumError(f"candidates is {self.candidates}; it must be at least the batch, {self.batch}")
        self._check_lists()
        if min(self.seeds) < 0 or (max(self.seeds) + 1) * self.members > 10**6:
            raise KvorumError(f"seeds are {self.seeds}; each must be at least 0, and less than a million / members")
        for accuracy in self.targets:
            if not 0 < accuracy < 1:
                raise KvorumError(f"targets holds {accuracy}; an accuracy is between 0 and 1")
        for name in self.settings:
            if (place := NOT_OF_A_FIT.get(_plain(name))) is not None:
                raise KvorumError(f"settings holds '{name}'; in an experiment its place is {place}")

    def _check_lists(self) -> None:
        for name in ("pool", "test", "acquisitions", "seeds"):
            value = getattr(self, name)
            if not value:
                raise KvorumError(f"{name} is empty")
            if len(set(value)) < len(value):
                raise KvorumError(f"{name} names something twice")
        for name, tasks in (("pool", [part.task for part in self.pool]), ("test", list(self.test))):
            if len({name_of(task) for task in tasks}) < len(tasks):
                raise KvorumError(f"{name} names a task twice, or two files of one name")

    @property
    def fit(self) -> FitConfig:
        """The settings of a fit; its members are those of one seed."""
        plain = {_plain(key): value for key, value in self.settings.items()}
        own = {"task": POOL, "evaluate": self.test, "members": self.members, "out": self.out}
        return fit_config(plain | own, where="settings")

    def as_dict(self) -> dict[str, Any]:
        """Plain values under the names of the keys."""
        return dataclasses.asdict(self)


def _plain(setting: object) -> str:
    return str(setting).replace("-", "_")


PART_FIELDS: dict[str, FieldInfo] = vars(Part)["__pydantic_fields__"]
"""Of every key of a part of the pool."""
LEARN_FIELDS: dict[str, FieldInfo] = vars(LearnConfig)["__pydantic_fields__"]
"""Of every key of an experiment's file: its type, default and description."""


def learn_config(settings: dict[str, Any], *, where: str) -> LearnConfig:
    """A checked experiment from plain values; raises `KvorumError` for unknown keys and wrong values."""
    for name in settings:
        if name not in LEARN_FIELDS:
            known = f"there is no key '{name}' in an experiment{nearest(str(name), tuple(LEARN_FIELDS))}"
            raise KvorumError(f"{where}: {known}; settings of the fits stand under 'settings'")
    lists = {name: settings[name] for name in ("test", "acquisitions") if isinstance(settings.get(name), str)}
    given = settings | {name: (one,) for name, one in lists.items()}
    named = given.get("acquisitions")
    for name in named if isinstance(named, list | tuple) else ():
        if isinstance(name, str) and name not in ACQUISITION_NAMES:
            known = f"there is no acquisition function '{name}'{nearest(name, ACQUISITION_NAMES)}"
            raise KvorumError(f"{where}: {known}")
    try:
        config = TypeAdapter(LearnConfig).validate_python(given)
        if not {"initialisation", "order"} <= set(config.fit.diversity):
            raise KvorumError(
                "diversity leaves out initialisation or order, by which the seeds of an experiment differ; keep both"
            )
    except ValidationError as error:
        raise KvorumError(f"{where}: {describe_errors(error)}") from None
    except KvorumError as error:
        raise KvorumError(f"{where}: {error}") from None
    return config


def read_learn_config(path: str | Path, *, out: str | None = None) -> LearnConfig:
    """The experiment in a YAML file; `out` wins over the file's."""
    return learn_config(read_yaml(path) | ({"out": out} if out else {}), where=str(path))
