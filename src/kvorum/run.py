"""A run directory: what lies where, atomic writes, one process at a time, going on."""

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from kvorum.config import FitConfig, fit_config, read_yaml
from kvorum.errors import KvorumError
from kvorum.files import atomic
from kvorum.predictions import Predictions
from kvorum.uncertainty import separation, summarize

# What may change when a run goes on, since it changes no result: where things lie, and how much is asked for.
MAY_CHANGE = frozenset({"out", "data_root", "token_budget", "evaluate", "epochs"})
# What was found and must be found again for the run to be the same one.
IDENTITY = ("base_revision", "prompt_template", "train_digest")

# Counts up whenever the numbers that are kept change in kind.
DERIVED_FORMAT = 2

log = logging.getLogger(__name__)


class Run:
    """A run on disk. Reading needs no torch.

    ```
    config.yaml                      the settings, and under `facts` what was found: versions, revision, parameters
    epochs/003/adapters.safetensors  the stack after epoch 3; 000 is the untouched model
    epochs/003/optimizer.safetensors for the newest epoch only
    epochs/003/predictions/TASK.parquet, and beside it TASK.numbers.json, derived from it
    log.jsonl                        a line a step
    report/index.html
    ```
    """

    def __init__(self, path: str | Path, config: FitConfig, facts: Mapping[str, Any]) -> None:
        self.path = Path(path)
        self.config = config
        self.facts = dict(facts)

    @classmethod
    def open(cls, path: str | Path) -> "Run":
        """The run in a directory.

        Raises `KvorumError` where there is none.
        """
        path = Path(path)
        file = path / "config.yaml"
        if not file.is_file():
            what = "no such directory" if not path.is_dir() else "holds no run (it has no config.yaml)"
            near = sorted(p.parent.name for p in path.parent.glob("*/config.yaml"))
            there = f"; runs beside it: {', '.join(near[:8])}" if near else ""
            raise KvorumError(f"{path}: {what}{there}")
        settings = read_yaml(file)
        facts = settings.pop("facts", None) or {}
        if not isinstance(facts, dict):
            raise KvorumError(f"{file}: expected 'facts' to hold names and values, found {type(facts).__name__}")
        return cls(path, fit_config(settings, where=str(file)), facts)

    @classmethod
    def start(cls, path: str | Path, config: FitConfig, facts: Mapping[str, Any]) -> "Run":
        """A new run in a directory, or the one that is there, to go on with.

        Raises `KvorumError` where the directory holds a run of other settings, data or base model, or other files.
        """
        path = Path(path)
        run = cls(path, config, facts)
        if (path / "config.yaml").is_file():
            there = cls.open(path)
            differs = _differences(there, run)
            if differs:
                raise KvorumError(f"{path} holds another run: {'; '.join(differs)}. Choose another --out, or remove it")
            kept = {key: there.facts[key] for key in ("started", "diverged") if key in there.facts}
            run.facts |= kept
        elif path.exists() and (not path.is_dir() or any(p.name != "lock" for p in path.iterdir())):
            raise KvorumError(f"{path} is not empty and holds no run; choose another --out")
        run.save_config()
        return run

    def save_config(self) -> None:
        """Write config.yaml."""
        content = self.config.as_dict() | {"facts": self.facts}
        content = json.loads(json.dumps(content))
        self.path.mkdir(parents=True, exist_ok=True)
        with atomic(self.path / "config.yaml") as temporary:
            temporary.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")

    @property
    def epochs(self) -> tuple[int, ...]:
        """The epochs whose adapters are saved, ascending; 0 is the untouched model."""
        return tuple(sorted(int(f.parent.name) for f in self.path.glob("epochs/[0-9]*/adapters.safetensors")))

    def epoch_folder(self, epoch: int) -> Path:
        """Where an epoch's files lie."""
        return self.path / "epochs" / f"{epoch:03d}"

    def adapters_file(self, epoch: int) -> Path:
        """The stack of an epoch."""
        return self.epoch_folder(epoch) / "adapters.safetensors"

    def optimizer_file(self, epoch: int) -> Path:
        """The optimizer's state after an epoch."""
        return self.epoch_folder(epoch) / "optimizer.safetensors"

    def resolve_epochs(self, wanted: str) -> tuple[int, ...]:
        """The epochs that `last`, `all` or a list such as `0,3` stands for.

        Raises `KvorumError` for one that is not saved.
        """
        saved = self.epochs
        if not saved:
            raise KvorumError(f"{self.path} has no saved epoch yet")
        if wanted == "last":
            return saved[-1:]
        if wanted == "all":
            return saved
        try:
            chosen = tuple(int(part) for part in wanted.split(","))
        except ValueError:
            raise KvorumError(f"epochs '{wanted}': expected last, all, or numbers such as 0,3") from None
        if missing := [epoch for epoch in chosen if epoch not in saved]:
            raise KvorumError(f"{self.path} has no epoch {missing[0]}; saved are {', '.join(map(str, saved))}")
        return chosen

    def tasks(self, epoch: int) -> tuple[str, ...]:
        """The tasks with predictions at an epoch, the fitted one first, then in the order asked for, then the rest."""
        found = {f.stem for f in (self.epoch_folder(epoch) / "predictions").glob("*.parquet")}
        asked = [self.facts.get("task"), *self.facts.get("evaluation_tasks", [])]
        return tuple(dict.fromkeys([*(name for name in asked if name in found), *sorted(found)]))

    def predictions_file(self, epoch: int, task: str) -> Path:
        """The predictions on a task at an epoch."""
        return self.epoch_folder(epoch) / "predictions" / f"{task}.parquet"

    def predictions(self, epoch: int, task: str) -> Predictions:
        """The predictions on a task at an epoch."""
        return Predictions.load(self.predictions_file(epoch, task))

    def save_predictions(self, epoch: int, task: str, predictions: Predictions) -> None:
        """Write the predictions on a task at an epoch, and the numbers that follow from them."""
        file = self.predictions_file(epoch, task)
        file.parent.mkdir(parents=True, exist_ok=True)
        predictions.save(file)
        self.numbers(epoch, task)

    def numbers(self, epoch: int, task: str) -> dict[str, Any]:
        """Every number of a task at an epoch: `uncertainty.summarize` of its predictions."""
        return self.derived(epoch, task)["numbers"]

    def separation(self, epoch: int, task: str) -> dict[str, Any] | None:
        """How well uncertainty tells a task's questions from the fitted task's: `uncertainty.separation`.

        None for the fitted task itself, and at an epoch at which that one is not scored.
        """
        return self.derived(epoch, task)["separation"]

    def prediction_facts(self, epoch: int, task: str) -> dict[str, Any]:
        """The facts of a task's predictions at an epoch, without reading the predictions."""
        return self.derived(epoch, task)["facts"]

    def questions_digest(self, epoch: int, task: str) -> str:
        """What tells the questions of a task at an epoch from others: `Predictions.questions_digest`."""
        return self.derived(epoch, task)["questions_sha256"]

    def derived(self, epoch: int, task: str) -> dict[str, Any]:
        """What follows from predictions, computed once and kept beside them; computed again when they change.

        `numbers`, `separation`, `facts` and `questions_sha256` at one reading of the files.
        """
        file = self.predictions_file(epoch, task)
        inside = self.predictions_file(epoch, str(self.facts.get("task")))
        sources = [file, inside] if inside != file and inside.is_file() else [file]
        digest = " ".join(hashlib.sha256(source.read_bytes()).hexdigest() for source in sources)
        kept = file.with_suffix(".numbers.json")
        if (found := _kept(kept, digest)) is not None:
            return found
        predictions = self.predictions(epoch, task)
        derived = {
            "format": DERIVED_FORMAT,
            "predictions_sha256": digest,
            "facts": predictions.facts,
            "questions_sha256": predictions.questions_digest(),
            "numbers": summarize(predictions.probs, predictions.rest, predictions.answers),
            "separation": separation(Predictions.load(inside), predictions) if len(sources) > 1 else None,
        }
        try:
            with atomic(kept) as temporary:
                temporary.write_text(json.dumps(derived), encoding="utf-8")
        except OSError as error:
            # A run on a read-only disk can still be read.
            log.warning("%s could not be kept and will be computed again: %s", kept, error)
        return derived

    @cached_property
    def log(self) -> list[dict[str, Any]]:
        """The log, a dictionary a step."""
        return list(_whole_lines(self.path / "log.jsonl"))

    def append_log(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Add steps to the log."""
        with (self.path / "log.jsonl").open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)
            file.flush()
            os.fsync(file.fileno())

    def cut_log(self, last_epoch: int) -> None:
        """Drop the steps after an epoch: those that will be done again."""
        file = self.path / "log.jsonl"
        kept = [line for line in _whole_lines(file) if line["epoch"] <= last_epoch]
        with atomic(file) as temporary:
            temporary.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")

    @property
    def report_folder(self) -> Path:
        """Where the report lies."""
        return self.path / "report"


def _kept(file: Path, digest: str) -> dict[str, Any] | None:
    """What was derived from predictions of a digest, unless it was derived from others, or by another version."""
    if not file.is_file():
        return None
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        log.warning("%s is damaged and is made again: %s", file, error)
        return None
    same = isinstance(found, dict) and found.get("format") == DERIVED_FORMAT
    return found if same and found.get("predictions_sha256") == digest else None


@contextmanager
def locked(path: str | Path) -> Iterator[None]:
    """Be the only process that writes to a run directory.

    Raises `KvorumError` where another one is. The lock of a process that died is free.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise KvorumError(f"{path}: cannot be a run directory ({error.strerror})") from None
    lock = FileLock(path / "lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise KvorumError(
            f"{path}: another process is working on this run; wait for it, or choose another --out"
        ) from None
    try:
        yield
    finally:
        lock.release()


def _whole_lines(file: Path) -> Iterator[dict[str, Any]]:
    """The lines of the log; a last one that a crash cut short is none, since its step is done again."""
    if not file.is_file():
        return
    text = file.read_text(encoding="utf-8")
    for line in text[: text.rfind("\n") + 1].splitlines():
        yield json.loads(line)


def differing_settings(there: FitConfig, asked: FitConfig) -> list[str]:
    """Why a run with some settings cannot go on with others, a reason each; none where it can."""
    before, now = there.as_dict(), asked.as_dict()
    settings = [name for name in now if name not in MAY_CHANGE and before[name] != now[name]]
    differs = [f"its {name} is {before[name]}, asked for was {now[name]}" for name in settings]
    if now["epochs"] != before["epochs"] and (now["schedule"] != "constant" or now["warmup"]):
        differs.append(
            f"its epochs is {before['epochs']}, asked for was {now['epochs']}, and its learning rate depends on that"
        )
    return differs


def _differences(there: Run, asked: Run) -> list[str]:
    differs = differing_settings(there.config, asked.config)
    if not differs:
        differs = [
            f"its {name.replace('_', ' ')} was another"
            for name in IDENTITY
            if there.facts.get(name) != asked.facts.get(name)
        ]
    return differs
