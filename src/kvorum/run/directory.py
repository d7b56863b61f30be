"""A run directory: what lies where, and what of it counts."""

import dataclasses
import itertools
import json
import os
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kvorum.bounded import refuse_links
from kvorum.config import FitConfig, fit_config, read_yaml
from kvorum.errors import KvorumError
from kvorum.facts import RunFacts, check_facts
from kvorum.files import atomic, flush, make_folder, remove, replace
from kvorum.predictions import Predictions
from kvorum.run import manifest as listed
from kvorum.run.derived import Derived, derive
from kvorum.run.drift import identity
from kvorum.run.manifest import Damage, Manifest, Seal
from kvorum.run.points import Point
from kvorum.safe_yaml import as_yaml

CONFIG, LOG = "config.yaml", "log.jsonl"
GROUPS, OWNER = "groups", "owner"
"""Members that are being fitted by several workers, and who writes to a run on storage: docs/scaling.md."""
HISTORY = ("started", "drift", "lost", "imported", "warm_start_epoch")
"""Facts that cannot be found again; the manifest holds them too, for when the configuration is damaged."""
CHECKED_BY_ALL = 2 * 2**30
"""Bytes of a run that every command holds against their checksums; `check` reads all, and what is used always is."""
LONGEST_LOG = 128 * 2**20
"""Bytes; ten thousand steps of twenty members are 16 MB."""
MOST_GAPS = 100
"""Gaps that are told of one by one."""
LONGEST_NAME = 255 - len(".numbers.json")


class Run:
    """A run on disk. Reading needs no torch.

    ```
    config.yaml                      the settings, and under `facts` what was found: versions, revision, parameters
    manifest.json                    the files that count, each with its checksum
    epochs/003/adapters.safetensors  the stack after epoch 3; 000 is the untouched model
    epochs/003/optimizer.safetensors for the newest epoch only
    epochs/004/step-00120/           both, in the midst of an epoch: after 120 steps of epoch 4
    epochs/003/predictions/TASK.parquet, and beside it TASK.numbers.json, derived from it
    epochs/003/calibration.json      rules of decision from held-out questions
    log.jsonl                        a line a step
    report/index.html
    tracking/, tensorboard/          what trackers were told: docs/trackers.md
    groups/00000-00004/              while several workers fit it: a run directory of some of its members
    lm_eval/                         uncertainties on tasks of lm-evaluation-harness: docs/lm-eval.md
    ```
    """

    def __init__(self, path: str | Path, config: FitConfig, facts: Mapping[str, Any]) -> None:
        self.path = Path(path)
        self.config = config
        self.facts = dict(facts)
        self.told: Callable[[], None] = lambda: None
        """Called whenever a file has been counted in."""
        self._manifest: tuple[Any, Manifest] | None = None
        self._log: tuple[Seal | None, list[dict[str, Any]]] | None = None

    @classmethod
    def open(cls, path: str | Path) -> "Run":
        """The run in a directory.

        Raises `KvorumError` where there is none, or its configuration or its manifest is damaged.
        """
        path = Path(path)
        file = path / CONFIG
        refuse_links(path)
        manifest = Manifest.read(path)
        if not file.is_file():
            if manifest.files:
                raise KvorumError(f"{file}: is missing; {_way_back(manifest)}")
            if re.match(r"[a-z][a-z0-9+.-]+:/", str(path)):
                raise KvorumError(f"{path} is no directory of this machine; kvorum fetch brings it here from storage")
            what = "no such directory" if not path.is_dir() else f"holds no run (it has no {CONFIG})"
            near = sorted(p.parent.name for p in path.parent.glob(f"*/{CONFIG}"))
            there = f"; runs beside it: {', '.join(near[:8])}" if near else ""
            raise KvorumError(f"{path}: {what}{there}")
        if CONFIG in manifest.files and (damage := manifest.damage([CONFIG])):
            raise KvorumError(f"{path}: {damage[0]}; {_way_back(manifest)}")
        return cls.taken_as_it_is(path)

    @classmethod
    def taken_as_it_is(cls, path: Path) -> "Run":
        """The run in a directory, its configuration held against nothing."""
        settings = read_yaml(path / CONFIG)
        facts = settings.pop("facts", None) or {}
        if not isinstance(facts, dict):
            raise KvorumError(f"{path / CONFIG}: expected 'facts' to hold names and values, found {_kind(facts)}")
        check_facts(RunFacts, facts, f"{path / CONFIG}, facts")
        return cls(path, fit_config(settings, where=str(path / CONFIG)), facts)

    @property
    def manifest(self) -> Manifest:
        """What the run holds, as it is on the disk now."""
        file = self.path / listed.NAME
        try:
            state = file.stat()
            now = (state.st_mtime_ns, state.st_ino, state.st_size)
        except FileNotFoundError:
            now = None
        if self._manifest is None or self._manifest[0] != now:
            self._manifest = (now, Manifest.read(self.path))
        return self._manifest[1]

    def name_of(self, file: Path) -> str:
        """A file's path within the directory, as the manifest lists it."""
        return file.relative_to(self.path).as_posix()

    def holds(self, file: Path) -> bool:
        """Whether a file was saved whole, and counts."""
        return self.name_of(file) in self.manifest.files

    def checked(self, file: Path) -> Path:
        """The file, its contents held against its checksum.

        Raises `KvorumError` for one that is damaged or missing, or that was never saved whole.
        """
        name = self.name_of(file)
        manifest = self.manifest
        if name not in manifest.files:
            raise KvorumError(f"{file}: there is no such file" if not file.is_file() else f"{file}: was not finished")
        damage = manifest.damage([name])
        if damage and self.manifest is not manifest:
            return self.checked(file)  # it was replaced in the meantime
        if damage:
            again = "kvorum calibrate" if file == self.calibration_file(_epoch(name)) else "kvorum check --repair"
            raise KvorumError(f"{self.path}: {describe(damage)}; {again} computes it again")
        return file

    def keep(self, *files: Path, drop: Iterable[Path] = ()) -> None:
        """Count whole files in, and others out: one step, after which those others are removed."""
        dropped = [file for file in drop if self.holds(file)]
        manifest = Manifest(self.path, dict(self.manifest.files), identity(self.config, self.facts), self.history())
        manifest.files |= {self.name_of(file): Seal.of(file) for file in files}
        for file in dropped:
            del manifest.files[self.name_of(file)]
        manifest.write()
        for file in dropped:
            remove(file)
            if file.parent.name.startswith("step-") and not any(file.parent.iterdir()):
                file.parent.rmdir()
        self.told()

    def forget(self, damaged: Iterable[Damage]) -> None:
        """Count files out that are damaged; they are computed again, and what is left of them then replaced."""
        manifest = dataclasses.replace(self.manifest, files=dict(self.manifest.files))
        for one in damaged:
            manifest.files.pop(one.file, None)
        manifest.write()

    def history(self) -> dict[str, Any]:
        """The facts that cannot be found again."""
        return {name: self.facts[name] for name in HISTORY if name in self.facts}

    def damage(self, *, most: int | None = None) -> list[Damage]:
        """The files that are missing or are not what was written; `most` bytes in all are read, if given.

        Raises `KvorumError` where the manifest itself is damaged or lost.
        """
        if not self.manifest.files and self.unlisted():
            raise KvorumError(lost(self.path))
        for _ in range(100):
            manifest = self.manifest
            found = manifest.damage(most=most)
            named = {one.file for one in found}
            found += [] if LOG in named else [gap for gap in self.gaps() if gap.file not in named]
            if not found or self.manifest is manifest:
                return found
            # A fit that runs beside has saved in the meantime, and what it has let go of is no damage.
        raise KvorumError(f"{self.path} is being written to faster than it can be read; wait for that fit")

    def gaps(self) -> list[Damage]:
        """What must have been there before the newest that is, and is no longer: a repair has not come to its end."""
        newest = max([Point(self.newest_epoch), *self.points])
        epochs = set(self.epochs)
        missing = (self.adapters_file(epoch) for epoch in range(self.newest_epoch + 1) if epoch not in epochs)
        found = list(itertools.islice(missing, MOST_GAPS))
        if not epochs:
            found = []  # nothing is saved yet
        if newest not in self.points and newest != (0, 0):
            found.append(self.optimizer_file(*newest))
        damage = [Damage(self.name_of(file), "is missing") for file in found]
        try:
            last = (self.log[-1]["epoch"], self.log[-1]["step"]) if self.log else (0, 0)
            reaches = last[0] >= newest.epoch if not newest.step else last >= (newest.epoch + 1, newest.step - 1)
            if not reaches:
                damage.append(Damage(LOG, f"is missing, or ends before {newest}"))
        except KvorumError as error:
            damage.append(Damage(LOG, f"cannot be read ({error})"))
        return [one for one in damage if one.file not in self.facts.get("lost", [])]

    def unlisted(self) -> list[Path]:
        """Files of the kinds that are listed, but are not."""
        kinds = ("epochs/**/*.safetensors", "epochs/*/predictions/*.parquet", "epochs/*/calibration.json")
        found = [file for kind in kinds for file in self.path.glob(kind)]
        return [file for file in sorted(found) if listed.LISTED.fullmatch(self.name_of(file)) and not self.holds(file)]

    def drop_steps(self) -> None:
        """Give up what is saved in the midst of an epoch."""
        within = [file for point in self.points if point.step for file in self.files_of(point)]
        if within:
            self.keep(drop=within)

    def files_of(self, point: Point) -> tuple[Path, Path]:
        """The stack and the optimizer of a point."""
        return self.adapters_file(*point), self.optimizer_file(*point)

    def save_config(self) -> None:
        """Write config.yaml, unless it says the same already."""
        text = as_yaml(self.config.as_dict() | {"facts": self.facts})
        make_folder(self.path)
        file = self.path / CONFIG
        if self.holds(file) and file.read_text(encoding="utf-8") == text:
            return
        # For a moment it is not vouched for, so that there is none in which it does not match.
        if self.holds(file):
            self.forget([Damage(CONFIG, "")])
        with atomic(file) as temporary:
            temporary.write_text(text, encoding="utf-8")
        self.keep(file)

    @property
    def points(self) -> tuple[Point, ...]:
        """Where fitting can go on from, ascending: there are both the stack and its optimizer, or it is the start."""
        found = set()
        for name in self.manifest.files:
            parts = name.split("/")
            if parts[-1] == "adapters.safetensors":
                place = Point(int(parts[1])) if len(parts) == 3 else Point(int(parts[1]) - 1, int(parts[2][5:]))
                if place == (0, 0) or self.holds(self.optimizer_file(*place)):
                    found.add(place)
        return tuple(sorted(found))

    @property
    def epochs(self) -> tuple[int, ...]:
        """The epochs whose adapters are saved, ascending; 0 is the untouched model."""
        parts = [name.split("/") for name in self.manifest.files]
        return tuple(sorted(int(p[1]) for p in parts if len(p) == 3 and p[2] == "adapters.safetensors"))

    @property
    def newest_epoch(self) -> int:
        """The newest whole epoch of which anything is there."""
        parts = [name.split("/") for name in self.manifest.files]
        return max((int(p[1]) for p in parts if p[0] == "epochs" and not p[2].startswith("step-")), default=0)

    def epoch_folder(self, epoch: int) -> Path:
        """Where an epoch's files lie."""
        return self.path / "epochs" / f"{epoch:03d}"

    def _folder(self, epoch: int, step: int) -> Path:
        return self.epoch_folder(epoch) if not step else self.epoch_folder(epoch + 1) / f"step-{step:05d}"

    def adapters_file(self, epoch: int, step: int = 0) -> Path:
        """The stack after some epochs, and some steps of the next."""
        return self._folder(epoch, step) / "adapters.safetensors"

    def optimizer_file(self, epoch: int, step: int = 0) -> Path:
        """The optimizer's state then."""
        return self._folder(epoch, step) / "optimizer.safetensors"

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
        folder = self.name_of(self.epoch_folder(epoch) / "predictions") + "/"
        found = {name[len(folder) : -len(".parquet")] for name in self.manifest.files if name.startswith(folder)}
        asked = [self.facts.get("task"), *self.facts.get("evaluation_tasks", [])]
        return tuple(dict.fromkeys([*(name for name in asked if name in found), *sorted(found)]))

    def predictions_file(self, epoch: int, task: str) -> Path:
        """The predictions on a task at an epoch.

        Raises `KvorumError` for a task whose name cannot be that of a file there.
        """
        if (
            Path(task).name != task
            or task in (".", "..")
            or "\0" in task
            or "\\" in task
            or not 0 < len(task.encode()) <= LONGEST_NAME
        ):
            raise KvorumError(f"task '{task[:80]}' cannot be kept under that name in {self.path}; rename its file")
        return self.epoch_folder(epoch) / "predictions" / f"{task}.parquet"

    def scores(self) -> set[tuple[int, str]]:
        """Every epoch and task that there are predictions of."""
        epochs = {int(name.split("/")[1]) for name in self.manifest.files if name.endswith(".parquet")}
        return {(epoch, task) for epoch in epochs for task in self.tasks(epoch)}

    def scored(self, epoch: int, task: str) -> bool:
        """Whether there are predictions on a task at an epoch."""
        return self.holds(self.predictions_file(epoch, task))

    def predictions(self, epoch: int, task: str) -> Predictions:
        """The predictions on a task at an epoch."""
        return Predictions.load(self.checked(self.predictions_file(epoch, task)))

    def save_predictions(self, epoch: int, task: str, predictions: Predictions) -> None:
        """Write the predictions on a task at an epoch, and the numbers that follow from them."""
        self.put(self.predictions_file(epoch, task), predictions.save)
        self.numbers(epoch, task)

    def put(self, file: Path, write: Callable[[Path], None]) -> None:
        """Write a file that counts, in place of the one that is there; `write` writes to the path that it is given."""
        make_folder(file.parent)
        # What is there counts until all of the new file is on the disk.
        beside = file.with_name(f".{secrets.token_hex(6)}.tmp")
        try:
            write(beside)
            if self.holds(file):
                self.forget([Damage(self.name_of(file), "")])
            replace(beside, file)
        finally:
            beside.unlink(missing_ok=True)
        self.keep(file)

    def calibration_file(self, epoch: int) -> Path:
        """The rules of decision from held-out questions, for an epoch's answers."""
        return self.epoch_folder(epoch) / "calibration.json"

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

    def derived(self, epoch: int, task: str) -> Derived:
        """What follows from predictions, computed once and kept beside them; computed again when they change."""
        file = self.checked(self.predictions_file(epoch, task))
        fitted = self.facts.get("task")
        inside = None
        if fitted is not None and fitted != task and self.scored(epoch, str(fitted)):
            inside = self.checked(self.predictions_file(epoch, str(fitted)))
        digests = [self.manifest.files[self.name_of(source)].sha256 for source in (file, inside) if source is not None]
        return derive(file, inside, " ".join(digests))

    @property
    def log(self) -> list[dict[str, Any]]:
        """The log up to the last saved point, a dictionary a step; what comes after is done again.

        Raises `KvorumError` where it is damaged.
        """
        seal = self.manifest.files.get(LOG)
        if self._log is None or self._log[0] != seal:
            lines = list(_lines(self.checked(self.path / LOG), seal.bytes)) if seal else []
            self._log = (seal, lines)
        return self._log[1]

    def append_log(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Add steps to the log; they count from the next saved point on."""
        with (self.path / LOG).open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)

    def flushed_log(self) -> list[Path]:
        """The log, on the disk with all its lines, to be kept with what it has led to."""
        file = self.path / LOG
        if not file.is_file():
            return []
        flush(file)
        return [file]

    def cut_log(self, point: Point) -> None:
        """Drop the steps after a point: those that will be done again."""
        file, seal = self.path / LOG, self.manifest.files.get(LOG)
        if not file.is_file():
            return
        kept = [line for line in self.log if (line["epoch"], line["step"]) < (point.epoch + 1, point.step)]
        if len(kept) == len(self.log):
            os.truncate(file, seal.bytes if seal else 0)
            return
        self.forget([Damage(LOG, "")])
        with atomic(file) as temporary:
            temporary.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        self.keep(file)

    @property
    def report_folder(self) -> Path:
        """Where the report lies."""
        return self.path / "report"


def lost(path: Path) -> str:
    """That a run has no manifest, and what to do."""
    return (
        f"{path / listed.NAME}: is missing, so nothing vouches for the run's files; kvorum check {path} --repair makes "
        "it of them as they are"
    )


def _way_back(manifest: Manifest) -> str:
    """What to do where the configuration is damaged or missing."""
    imported = manifest.history.get("imported")
    if not imported:
        return "put it back as it was, or let the same kvorum fit with --repair write it again"
    names = ", ".join(map(str, imported[:3])) if isinstance(imported, list) else str(imported)
    return (
        "put it back as it was, or import the adapters again, which were fitted elsewhere, into another directory "
        f"({names[:300]})"
    )


def is_run(path: Path) -> bool:
    """Whether a directory holds a run."""
    return (path / CONFIG).is_file()


def describe(damage: Sequence[Damage]) -> str:
    """What is wrong with files, in a line."""
    some = "; ".join(map(str, damage[:8]))
    return some + (f"; and {len(damage) - 8} more files" if len(damage) > 8 else "")


def _epoch(name: str) -> int:
    """The epoch of a listed file; -1 of those that are of none."""
    parts = name.split("/")
    return int(parts[1]) if parts[0] == "epochs" else -1


def _kind(value: Any) -> str:
    return type(value).__name__


def _lines(file: Path, size: int) -> Iterator[dict[str, Any]]:
    number = 0
    if size > LONGEST_LOG:
        raise KvorumError(f"{file}: is longer than {LONGEST_LOG:,} bytes")
    with file.open("rb") as stream:
        for line in stream.read(size).splitlines():
            number += 1
            try:
                step = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise KvorumError(f"{file}, line {number}: is no JSON ({error})") from None
            if not (isinstance(step, dict) and all(isinstance(step.get(name), int) for name in ("epoch", "step"))):
                raise KvorumError(f"{file}, line {number}: is no step of a fit")
            yield step
