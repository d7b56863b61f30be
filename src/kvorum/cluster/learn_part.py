"""What a worker does for an experiment: rounds of some of the seeds, each sent to the storage when it is done."""

import contextlib
import dataclasses
import secrets
import tempfile
from pathlib import Path

from kvorum.acquisition.names import AcquisitionName
from kvorum.active.loop import Loop
from kvorum.active.plan import Experiment, Plan
from kvorum.active.progress import Rounds
from kvorum.active.records import CONFIG, ROUNDS, START, Learned, Record
from kvorum.cluster.part import Bases, refuse_unshared
from kvorum.cluster.refusals import NotHere, TakenOver
from kvorum.cluster.storage import Storage
from kvorum.run.directory import GROUPS, OWNER


@dataclasses.dataclass(frozen=True, kw_only=True)
class LearnPart:
    """The start of some seeds of an experiment, or their rounds after it by one acquisition function."""

    experiment: Experiment
    """Of these seeds alone. For the start with all acquisition functions, since they say what it must keep."""
    acquisition: AcquisitionName | None
    """None: the start."""
    out: Storage
    """Where the experiment lies."""
    mark: str
    """By which the worker knows that it is there."""


@dataclasses.dataclass(frozen=True)
class Sent(Learned):
    """An experiment's directory on storage, as one worker sees it.

    What is read is brought here first. A round of a seed is sent when its record is saved: its files, and the record
    last, so that whenever a machine dies, what a record names is there. Who takes up a seed owns it, by a token, and
    whoever wrote it before may not go on.
    """

    storage: Storage
    token: str = dataclasses.field(default_factory=lambda: secrets.token_hex(16))

    def take_up(self, name: str) -> None:
        """Own the seeds in a folder of rounds, `START` or an acquisition function's, and bring the records here."""
        seeds = self.config.seeds
        for seed in seeds:
            self.storage.write(_owner(name, seed), self.token.encode())
        wanted = {f"seed-{seed}.json" for seed in seeds}
        for folder in {START, name}:
            rounds = self.storage.within(f"{ROUNDS}/{folder}")
            for file in rounds.names():
                if file.rpartition("/")[2] in wanted:
                    rounds.fetch(file, self.path / ROUNDS / folder / file)
        self.storage.fetch(CONFIG, self.path / CONFIG)

    def checked(self, acquisition: str, number: int, seed: int, file: Path) -> Path:
        """A file of a round, brought here if it is not, and held against its record."""
        if not file.is_file():
            with contextlib.suppress(FileNotFoundError):  # which is said below
                self.storage.fetch(self._name(file), file)
        return super().checked(acquisition, number, seed, file)

    def save(self, record: Record) -> None:
        """Write a record and send it, with the files that it names.

        Raises `TakenOver` where another worker owns the seed by now.
        """
        super().save(record)
        file = self.record_file(record.acquisition, record.round, record.seed)
        self._refuse_taken_over(record)
        self.storage.remove(self._name(file))
        for name in record.files:
            self.storage.send(file.parent / name, self._name(file.parent / name))
        self._refuse_taken_over(record)
        self.storage.send(file, self._name(file))

    def let_go(self, file: Path) -> None:
        """Remove a file here and there."""
        super().let_go(file)
        self.storage.remove(self._name(file))

    def said(self, file: Path) -> str:
        """Where a file lies on storage."""
        return f"{self.storage}/{self._name(file)}"

    def _name(self, file: Path) -> str:
        return file.relative_to(self.path).as_posix()

    def _refuse_taken_over(self, record: Record) -> None:
        name = record.acquisition if record.round else START
        if self.storage.read(_owner(name, record.seed)) != self.token.encode():
            raise TakenOver(
                f"{self.storage}: another worker goes on with {name}, seed {record.seed}; what was saved before is "
                "whole"
            )


def learn_part(part: LearnPart, bases: Bases, told: Rounds) -> None:
    """Every round of a part that is still to do; all that is done is on its storage.

    Raises `KvorumError` where it cannot be done, `TakenOver` where another worker has gone on with it, OSError where
    its storage fails, and whatever `told` raises, as it does to stop.
    """
    refuse_unshared(part.out, part.mark)
    with tempfile.TemporaryDirectory(prefix="kvorum-", ignore_cleanup_errors=True) as scratch:
        learned = Sent(Path(scratch), part.experiment.config, part.out)
        learned.take_up(part.acquisition or START)
        plan = part.experiment.plan(bases.of(part.experiment.config.fit))
        _refuse_other_base(plan, learned)
        loop = Loop(plan, learned, told)
        if part.acquisition is None:
            loop.start()
        else:
            loop.follow(part.acquisition)


def _refuse_other_base(plan: Plan, learned: Learned) -> None:
    base, begun = plan.job.base, learned.facts.get("base_revision")
    if base.revision != begun:
        raise NotHere(
            f"the base model {base.name} is another on this machine ({base.revision or 'unknown'}) than the one that "
            f"the experiment was begun with ({begun or 'unknown'}); put the same on every machine"
        )


def _owner(name: str, seed: int) -> str:
    """The file that says who works on a seed."""
    return f"{GROUPS}/{name}-{seed}.{OWNER}"
