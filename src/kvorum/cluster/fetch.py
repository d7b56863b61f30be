"""A run or an experiment from storage onto this machine, where commands read it."""

from pathlib import Path, PurePosixPath

from kvorum.active.records import CONFIG, ROUNDS
from kvorum.cluster.mirror import Mirror
from kvorum.cluster.storage import Storage
from kvorum.errors import KvorumError, first_line
from kvorum.run import Run, locked
from kvorum.run.manifest import NAME, Manifest
from kvorum.run.start import refuse_foreign


def fetch(url: str, folder: Path) -> int:
    """Bring what lies at a URL into a folder, or what is new of it since it was brought; returns how many files came.

    Raises `KvorumError` where there is neither a run nor an experiment, the folder holds something else, or files are
    not as they were written.
    """
    storage = Storage(url)
    try:
        names = set(storage.names())
    except (OSError, ValueError) as error:
        raise KvorumError(f"{storage} cannot be read: {first_line(error)}") from error
    if NAME in names:
        return _run(storage, folder)
    if CONFIG in names and any(name.startswith(f"{ROUNDS}/") for name in names):
        return _experiment(storage, names, folder)
    raise KvorumError(f"{storage} holds neither a run nor an experiment")


def _run(storage: Storage, folder: Path) -> int:
    with locked(folder):
        there = Manifest.read(folder)
        if not there.files:
            refuse_foreign(folder)
        mirror = Mirror(folder, storage)
        if there.files and there.identity != mirror.listed().identity:
            raise KvorumError(f"{folder} holds another run than {storage}; choose another folder")
        brought = mirror.fetch()
        if damage := Run.open(folder).damage():
            raise KvorumError(f"{storage}: {damage[0]}; the fit that wrote it computes it again")
        return brought


def _experiment(storage: Storage, names: set[str], folder: Path) -> int:
    """All of an experiment; its records vouch for its files when they are read."""
    kept = [name for name in sorted(names) if name == CONFIG or name.startswith(f"{ROUNDS}/")]
    if outside := [name for name in kept if ".." in PurePosixPath(name).parts]:
        raise KvorumError(f"{storage} holds '{outside[0]}', which would land outside of {folder}")
    with locked(folder):
        if not (folder / CONFIG).is_file():
            refuse_foreign(folder)
        elif storage.read(CONFIG) != (folder / CONFIG).read_bytes():
            raise KvorumError(
                f"{folder} holds another experiment than {storage}, or an older one; choose another folder"
            )
        for name in kept:
            storage.fetch(name, folder / name)
    return len(kept)
