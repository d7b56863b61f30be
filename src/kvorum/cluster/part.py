"""What a worker does for a fit: some of the members, from their last saved point on, into their own run directory."""

import dataclasses
import logging
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kvorum.cluster.begun import refuse_other_facts
from kvorum.cluster.mirror import Mirror
from kvorum.cluster.refusals import NotHere
from kvorum.cluster.storage import Storage
from kvorum.config import FitConfig
from kvorum.engine import BaseModel, load_base
from kvorum.errors import KvorumError
from kvorum.posterior.fit import recompute
from kvorum.posterior.fitting import Fitting
from kvorum.posterior.job import Job, plan
from kvorum.posterior.progress import Progress
from kvorum.posterior.stop import StopRequest
from kvorum.run import Point, locked, start_run
from kvorum.run.directory import GROUPS
from kvorum.study import BASE

MARK = f"{GROUPS}/shared"
"""A file by which a worker sees that its storage is that of the process which asks for the work."""

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """A fit of some of the members of a run."""

    config: FitConfig
    inputs: Any
    """The `Inputs`, read already, since its files need not be where the work is done; or where they lie in the
    cluster's object store."""
    members: tuple[int, ...]
    run: Storage
    """Where the whole run lies,"""
    storage: Storage
    """and where this part of it does."""
    mark: str
    """What `MARK` holds."""

    def fetched(self, get: Callable[[Any], Any]) -> "Part":
        """The part with what was in the object store."""
        return dataclasses.replace(self, inputs=get(self.inputs))


class Bases:
    """The base model that was used last, kept for what uses it next."""

    def __init__(self) -> None:
        self._kept: tuple[tuple[Any, ...], BaseModel] | None = None

    def of(self, config: FitConfig) -> BaseModel:
        """The base model that a configuration names."""
        settings = {name: getattr(config, name) for name in BASE}
        key = tuple(settings.values())
        if self._kept is None or self._kept[0] != key:
            self._kept = None  # two of them need not fit
            name = settings.pop("model")
            try:
                self._kept = (key, load_base(name, **settings))
            except KvorumError as error:
                raise NotHere(str(error)) from error
        return self._kept[1]


def fit_part(
    part: Part,
    bases: Bases,
    progress: Progress,
    stop: StopRequest,
    *,
    saved: Callable[[Point], None] = lambda _: None,
) -> None:
    """Fit a part to its end, going on from what its storage holds; all that is saved is there, too.

    `saved` is told up to where it is saved, whenever something has been.

    Raises `KvorumError` where it cannot be fitted, `TakenOver` where another worker has gone on with it, OSError where
    its storage fails, and `Stopped` where a stop was asked for.
    """
    refuse_unshared(part.run, part.mark)
    with tempfile.TemporaryDirectory(prefix="kvorum-", ignore_cleanup_errors=True) as scratch:
        folder = Path(scratch) / part.storage.name
        mirror = Mirror(folder, part.storage)
        try:
            mirror.take_up()
            job = plan_part(part, bases, folder)
            refuse_other_facts(part.run, job.facts())
            with locked(folder):
                run = start_run(folder, job.config, job.facts(), repair=True, alone=False)

                def keep() -> None:
                    mirror.send()
                    if run.points:
                        saved(run.points[-1])

                run.told = keep
                keep()
                recompute(job, run, progress, stop)
                Fitting(job, run, progress, stop).run_all()
        except KvorumError as error:
            # By the name of the run, and not of a copy that is gone by the time it is read.
            error.args = (str(error).replace(str(folder), str(part.run)),)
            raise


def plan_part(part: Part, bases: Bases, folder: Path) -> Job:
    """The fit of a part, checked."""
    config = dataclasses.replace(part.config, out=str(folder), track=())
    base = bases.of(config)
    return plan(config, base=base, inputs=part.inputs).part(part.members)


def refuse_unshared(run: Storage, mark: str) -> None:
    """Raise `NotHere` where a worker does not see the storage of the process that asks for the work."""
    found = run.read(MARK)
    if found != mark.encode():
        raise NotHere(
            f"{run} is not the same folder here as where the work was asked for; put --out on storage that all "
            "machines share: a mounted folder, or a URL such as s3://bucket/runs/x"
        )
