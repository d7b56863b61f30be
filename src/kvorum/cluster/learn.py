"""An experiment spread over workers: the start of some seeds, then their rounds by each function, apart from others."""

import contextlib
import dataclasses
import secrets
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kvorum.active.config import LearnConfig
from kvorum.active.directory import begin, refuse_foreign
from kvorum.active.plan import Experiment, prepare
from kvorum.active.records import CONFIG, ROUNDS, START, Learned
from kvorum.adapters import find_targets
from kvorum.cluster.dispatch import Dispatch, Ended, Work
from kvorum.cluster.learn_part import LearnPart
from kvorum.cluster.part import MARK
from kvorum.cluster.ray_cluster import Cluster
from kvorum.cluster.storage import Storage, shown
from kvorum.cluster.view import View
from kvorum.engine import skeleton
from kvorum.errors import KvorumError
from kvorum.run import locked
from kvorum.run.directory import GROUPS

BASE = "the base model"
"""What the work that looks at it is called."""
REPORT = "report"

Runner = Callable[[Mapping[str, Work], Ended], Mapping[str, str]]
"""Does pieces of work, by their names, and tells of each that is done; returns why those failed that did."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    """An experiment's directory that only this process asks work for."""

    folder: Path
    """Where it lies on this machine,"""
    storage: Storage
    """and where workers find it."""

    @property
    def apart(self) -> bool:
        """Whether the two are not the same."""
        return self.storage.path is None

    def begin(self, config: LearnConfig, facts: Mapping[str, Any], mark: str) -> None:
        """Begin it, or go on with the one that is there, and leave a token by which workers know it again."""
        # What is kept names the place without the keys to it.
        kept = dataclasses.replace(config, out=shown(config.out))
        begin(kept, facts, self.folder)
        if self.apart:
            self.storage.send(self.folder / CONFIG, CONFIG)
        self.storage.write(MARK, mark.encode())

    def fetch(self) -> None:
        """Bring here what a report is of: all but what rounds keep for those after them."""
        if self.apart:
            rounds = self.storage.within(ROUNDS)
            for name in rounds.names():
                if not name.endswith(".safetensors"):
                    rounds.fetch(name, self.folder / ROUNDS / name)

    def send_report(self) -> None:
        """Send the page that was written here, if any was."""
        if self.apart:
            for file in (self.folder / REPORT).rglob("*"):
                if file.is_file():
                    self.storage.send(file, file.relative_to(self.folder).as_posix())


def ask(config: LearnConfig) -> Experiment:
    """Read and check all of an experiment that can be without the base model's weights.

    Raises `KvorumError` for whatever cannot be run.
    """
    experiment, fit = prepare(config), config.fit
    model = skeleton(fit.model, revision=fit.revision, trust_remote_code=fit.trust_remote_code)
    find_targets(model, fit.targets)
    return experiment


@contextlib.contextmanager
def learn_in_parts(experiment: Experiment, runner: Runner, *, per_worker: int = 1) -> Iterator[Learned]:
    """Run what is left of an experiment in parts; within the block it is done and may be reported on, into its folder.

    `per_worker`: seeds in a part.

    Raises `KvorumError` where the directory holds something else, and for parts that failed, once the others are done;
    they are kept, and the same again does what is left.
    """
    config = experiment.config
    with opened(config.out) as place:
        mark = secrets.token_hex(16)
        works = works_of(experiment, place, per_worker, mark)

        def ended(name: str, result: Any) -> None:
            if name == BASE:
                place.begin(config, result, mark)

        try:
            failed = runner(works, ended)
        finally:
            place.storage.within(GROUPS).remove_all()
        if failed:
            raise KvorumError(_failures(failed, works, place))
        place.fetch()
        yield Learned.open(place.folder)
        place.send_report()


def works_of(experiment: Experiment, place: Place, per_worker: int, mark: str) -> dict[str, Work]:
    """The pieces of an experiment by what they are called: the base model, the starts, and the rounds by functions."""
    config = experiment.config
    works = {BASE: Work("look", experiment)}
    chunks = [config.seeds[first : first + per_worker] for first in range(0, len(config.seeds), per_worker)]
    for seeds in chunks:
        part = LearnPart(
            experiment=experiment.of(seeds, config.acquisitions), acquisition=None, out=place.storage, mark=mark
        )
        works[_called(START, seeds)] = Work("learn", part, after=(BASE,))
    for acquisition in config.acquisitions:
        for seeds in chunks:
            part = LearnPart(
                experiment=experiment.of(seeds, (acquisition,)), acquisition=acquisition, out=place.storage, mark=mark
            )
            works[_called(acquisition, seeds)] = Work("learn", part, after=(_called(START, seeds),))
    return works


@contextlib.contextmanager
def opened(out: str) -> Iterator[Place]:
    """An experiment's directory, by a path or a URL.

    Raises `KvorumError` where its storage cannot be written to, where it holds something else, or where another process
    works on it, which is known of a path alone.
    """
    storage = Storage(out)
    if storage.path is not None:
        with locked(storage.path):
            storage.refuse_unwritable()
            yield Place(folder=storage.path, storage=storage)
        return
    storage.refuse_unwritable()
    with tempfile.TemporaryDirectory(prefix="kvorum-") as scratch:
        place = Place(folder=Path(scratch) / storage.name, storage=storage)
        place.folder.mkdir()
        if storage.read(CONFIG) is None:
            refuse_foreign(storage, {name.partition("/")[0] for name in storage.names()} - {GROUPS})
        else:
            storage.fetch(CONFIG, place.folder / CONFIG)
        yield place


def on_ray(cluster: Cluster, view: View) -> Runner:
    """A runner that does pieces of work on the workers of a cluster."""

    def run(works: Mapping[str, Work], ended: Ended) -> dict[str, str]:
        dispatch = Dispatch(cluster, works, view, ended=ended)
        dispatch.run()
        return dispatch.failed

    return run


def _called(name: str, seeds: Sequence[int]) -> str:
    return f"{name}, {'seed' if len(seeds) == 1 else 'seeds'} {' '.join(map(str, seeds))}"


def _failures(failed: Mapping[str, str], works: Mapping[str, Work], place: Place) -> str:
    """What became of an experiment of which pieces have failed."""
    first = {name: why for name, why in failed.items() if failed.keys().isdisjoint(works[name].after)}
    if BASE in first:
        return first[BASE]
    each = "; ".join(f"{name}: {why}" for name, why in first.items())
    behind = f" and {len(failed) - len(first)} that come after them" if len(failed) > len(first) else ""
    return (
        f"{len(first)} of {len(works) - 1} parts of the experiment failed{behind}, the others are done and kept in "
        f"{place.storage}: {each}; once that is mended, the same command does what is left"
    )
