"""The run that groups of members belong to: where it lies, what is there of it, and how groups become it."""

import contextlib
import dataclasses
import logging
import re
import secrets
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from kvorum.cluster.begun import begun_groups
from kvorum.cluster.groups import name_of, storage_of
from kvorum.cluster.join import join, refuse_apart, split
from kvorum.cluster.mirror import Mirror
from kvorum.cluster.part import MARK
from kvorum.cluster.storage import Storage, is_url
from kvorum.config import FitConfig
from kvorum.errors import KvorumError
from kvorum.posterior.fit import refuse_imported
from kvorum.posterior.job import Inputs
from kvorum.run import CHECKED_BY_ALL, Point, Run, differing_settings, locked, start_run
from kvorum.run.directory import GROUPS, describe, is_run
from kvorum.run.drift import differing_facts
from kvorum.run.manifest import NAME
from kvorum.run.start import refuse_foreign

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Whole:
    """A run directory that only this process writes to, its groups apart."""

    folder: Path
    """Where it lies on this machine,"""
    storage: Storage
    """and where workers find it."""
    mirror: Mirror | None
    """What keeps the two alike, where they are not the same."""

    def run(self) -> Run | None:
        """What is there of it.

        Raises `KvorumError` where something else is, or what is there is damaged or was imported.
        """
        if not is_run(self.folder):
            refuse_foreign(self.folder)
            return None
        refuse_imported(self.folder)
        run = Run.open(self.folder)
        if damage := run.damage(most=CHECKED_BY_ALL):
            raise KvorumError(f"{self.storage}: {describe(damage)}; kvorum check --repair computes it again")
        return run

    def mark(self) -> str:
        """A token on the storage by which workers know it again."""
        # One that is there stays: where two ask for work at once, or a folder is seen late, it is the same for all.
        found = (self.storage.read(MARK) or b"").decode(errors="replace")
        if re.fullmatch(r"[0-9a-f]{32}", found):
            return found
        token = secrets.token_hex(16)
        self.storage.write(MARK, token.encode())
        return token

    def begin_groups(self, run: Run, groups: Sequence[Sequence[int]]) -> None:
        """Give what the run holds of its members to every group that is not begun, or that the run is ahead of."""
        newest = max(run.points, default=Point(0))
        with begun_groups(self.storage) as begun:
            behind = {name for name, group in begun.items() if max(group.points, default=Point(0)) < newest}
        for members in groups:
            place = storage_of(self.storage, members)
            if name_of(members) in behind:
                log.info("%s: %s has been fitted further, and the group goes on from there", place, self.storage)
                place.remove_all()
            if place.read(NAME) is None:
                with tempfile.TemporaryDirectory(prefix="kvorum-") as scratch:
                    mirror = Mirror(Path(scratch) / name_of(members), place)
                    part = Run(mirror.folder, run.config, run.facts)
                    part.save_config()
                    split(run, part, members)
                    mirror.own()
                    mirror.send()

    def join(self, config: FitConfig, groups: Sequence[Sequence[int]], tasks: Sequence[str]) -> Run:
        """Make the run of its groups, which are fitted to their ends, and remove them."""
        with contextlib.ExitStack() as stack:
            parts = [stack.enter_context(_opened(storage_of(self.storage, members))) for members in groups]
            refuse_apart(parts)
            run = start_run(self.folder, config, _facts(parts), alone=False)
            if self.mirror is not None:
                run.told = self.mirror.send
            join(run, parts, tasks)
        self.storage.within(GROUPS).remove_all()
        return run


@contextlib.contextmanager
def whole_run(out: str) -> Iterator[Whole]:
    """A run directory, by a path or a URL, for this process alone to write to.

    Raises `KvorumError` where its storage cannot be written to, or another process writes to it.
    """
    storage = Storage(out)
    if not is_url(out) or storage.path is not None:
        folder = storage.path or Path(out)
        with locked(folder):
            storage.refuse_unwritable()
            yield Whole(folder=folder, storage=storage, mirror=None)
        return
    storage.refuse_unwritable()
    with tempfile.TemporaryDirectory(prefix="kvorum-") as scratch:
        folder = Path(scratch) / storage.name
        folder.mkdir()
        mirror = Mirror(folder, storage)
        mirror.take_up()
        yield Whole(folder=folder, storage=storage, mirror=mirror)


@contextlib.contextmanager
def standing_run(path: str) -> Iterator[Run]:
    """A run that is there, by a path or a URL, for this process alone to write to; what is saved in it is there, too.

    Raises `KvorumError` where there is none, or another process writes to it.
    """
    storage = Storage(path)
    if storage.path is not None:
        Run.open(storage.path)
    elif storage.read(NAME) is None:
        raise KvorumError(f"{storage}: holds no run (it has no {NAME})")
    with whole_run(path) as whole:
        try:
            run = Run.open(whole.folder)
            if whole.mirror is not None:
                run.told = whole.mirror.send
            yield run
        except KvorumError as error:
            # By the name of the run, and not of a copy that is gone by the time it is read.
            error.args = (str(error).replace(str(whole.folder), str(storage)),)
            raise


def refuse_other_run(run: Run, config: FitConfig, inputs: Inputs, where: Storage) -> None:
    """Raise `KvorumError` where a run that is there was begun with other settings, questions, prompts or posterior."""
    found = inputs.facts() | {"start_digest": inputs.warm.digest if inputs.warm else None}
    if differs := differing_settings(run.config, config) or differing_facts(run.facts, run.facts | found):
        raise KvorumError(f"{where} holds another run: {'; '.join(differs)}. Choose another --out, or remove it")


@contextlib.contextmanager
def _opened(place: Storage) -> Iterator[Run]:
    """A group's run directory: itself where it lies on this machine, or a copy."""
    if place.path is not None:
        yield Run.open(place.path)
        return
    with tempfile.TemporaryDirectory(prefix="kvorum-") as scratch:
        mirror = Mirror(Path(scratch) / place.name, place)
        mirror.fetch()
        yield Run.open(mirror.folder)


def _facts(groups: Sequence[Run]) -> dict[str, Any]:
    """What the groups have found, as of one fit."""
    first = groups[0].facts
    drift = [entry for group in groups for entry in group.facts.get("drift", [])]
    together = {
        "started": min(str(group.facts["started"]) for group in groups),
        "tokens_per_epoch": sum(group.facts["tokens_per_epoch"] for group in groups),
        "groups": [group.path.name for group in groups],
    }
    if drift:
        together["drift"] = [entry for place, entry in enumerate(drift) if entry not in drift[:place]]
    return first | together
