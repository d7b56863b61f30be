"""The posterior that a spread fit was begun with: at that epoch though its run has more, and though its run is gone."""

import contextlib
import dataclasses
import tempfile
from collections.abc import Iterator
from pathlib import Path

from kvorum.adapters import AdapterStack
from kvorum.cluster.begun import glimpsed
from kvorum.cluster.groups import there
from kvorum.cluster.mirror import Mirror
from kvorum.cluster.storage import Storage, is_url
from kvorum.config import FitConfig
from kvorum.errors import KvorumError
from kvorum.files import make_folder
from kvorum.run import Run, run_and_epoch
from kvorum.run.directory import is_run


def as_begun(config: FitConfig) -> FitConfig:
    """The same fit, going on from that epoch of another run with which it was begun, though there are more by now."""
    if config.warm_start is None or config.out is None:
        return config
    path, named = run_and_epoch(config.warm_start)
    storage = Storage(config.out)
    for place in (storage, *there(storage).values()):
        with contextlib.suppress(KvorumError):  # a damaged list, which is said when the run is taken up
            began = Mirror(path, place).listed().history.get("warm_start_epoch")
            if named is None and isinstance(began, int):
                return dataclasses.replace(config, warm_start=str(path / "epochs" / f"{began:03d}"))
    return config


@contextlib.contextmanager
def out_here(config: FitConfig) -> Iterator[FitConfig]:
    """The same fit with the folder of this machine in which what it has begun with is found, if there is one.

    That is its own, or for the time being one into which that is brought from storage, or from its groups.
    """
    if config.warm_start is None or config.out is None:
        yield config
        return
    storage = Storage(config.out)
    here = config if storage.path is None else dataclasses.replace(config, out=str(storage.path))
    begun_here = storage.path is not None and is_run(storage.path)
    if begun_here or is_run(run_and_epoch(config.warm_start)[0]):
        yield here
        return
    with tempfile.TemporaryDirectory(prefix="kvorum-") as scratch:
        found = _from_whole(storage, Path(scratch)) or _from_groups(storage, Path(scratch))
        yield here if found is None else dataclasses.replace(config, out=str(found.path))


def is_here(config: FitConfig) -> bool:
    """Whether a fit's run directory, by default one of this machine, is none at a URL."""
    return config.out is None or not is_url(config.out)


def _from_whole(storage: Storage, scratch: Path) -> Run | None:
    """The start of a run on storage; None where it is not begun."""
    run = glimpsed(storage, scratch / storage.name)
    if run is None or not run.holds(run.adapters_file(0)):
        return None
    storage.fetch(run.name_of(run.adapters_file(0)), run.adapters_file(0))
    return run


def _from_groups(storage: Storage, scratch: Path) -> Run | None:
    """The start of a run that is in groups still, joined; None where not all of its members are begun."""
    groups = [_from_whole(place, scratch / "groups") for place in there(storage).values()]
    begun = [group for group in groups if group is not None]
    if not begun:
        return None
    stack = AdapterStack.joined([AdapterStack.load(group.checked(group.adapters_file(0))) for group in begun])
    if len(stack.members) != begun[0].config.members:
        return None
    run = Run(scratch / storage.name, begun[0].config, begun[0].facts)
    run.save_config()
    make_folder(run.adapters_file(0).parent)
    stack.save(run.adapters_file(0), epoch=0, base_revision=run.facts["base_revision"], model=run.facts["model"])
    run.keep(run.adapters_file(0))
    return run
