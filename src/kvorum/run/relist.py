"""Making a lost manifest again, of the files as they are."""

import json
import logging
import os
from pathlib import Path

from safetensors import SafetensorError, safe_open

from kvorum.bounded import read_bounded, refuse_links
from kvorum.files import atomic
from kvorum.predictions import Predictions
from kvorum.run.directory import CONFIG, LOG, Run
from kvorum.run.drift import identity
from kvorum.run.manifest import NAME, DamagedManifest, Manifest, Seal
from kvorum.run.points import Point

LARGEST_JSON = 2**24

log = logging.getLogger(__name__)


def relist(path: Path) -> None:
    """Make a run's manifest again where it is damaged or lost: of the files that can be read.

    Nothing can be said of contents that changed before, and it is logged that they are taken as they are.

    Raises `KvorumError` where there is no run.
    """
    refuse_links(path)
    try:
        if Manifest.read(path).files or not (path / CONFIG).is_file():
            return
    except DamagedManifest as error:
        log.warning("%s", error)
        # Kept, for whom it may still tell something.
        os.replace(path / NAME, path / f"{NAME}.damaged")
    run = Run.open(path)
    found = [path / CONFIG]
    for file in run.unlisted():
        if (why := _unreadable(file)) is None:
            found.append(file)
        else:
            log.warning("%s is left out: %s", file, why)
    made = Manifest(path, {run.name_of(file): Seal.of(file) for file in found}, identity(run.config, run.facts))
    made.history = run.history()
    made.write()
    if _cut(path / LOG, max(run.points, default=Point(0))):
        found.append(path / LOG)
        run.keep(path / LOG)
    log.warning(
        "%s is made again of %d files as they are: that they are as they were written, nothing can say",
        path / NAME,
        len(found),
    )


def _unreadable(file: Path) -> str | None:
    try:
        if file.suffix == ".parquet":
            Predictions.load(file)
        elif file.suffix == ".json":
            json.loads(read_bounded(file, LARGEST_JSON))
        else:
            with safe_open(str(file), framework="np") as tensors:
                tensors.keys()
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        return str(error)
    return None


def _cut(file: Path, point: Point) -> bool:
    """Cut a log to its whole lines up to a point; whether any are left."""
    if not file.is_file():
        return False
    kept = []
    for line in file.read_bytes().splitlines(keepends=True):
        try:
            step = json.loads(line)
            if not line.endswith(b"\n") or (step["epoch"], step["step"]) >= (point.epoch + 1, point.step):
                break
        except (ValueError, LookupError, TypeError, RecursionError):
            break
        kept.append(line)
    with atomic(file) as temporary:
        temporary.write_bytes(b"".join(kept))
    return bool(kept)
