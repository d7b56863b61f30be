"""Making a lost manifest again, of the files as they are."""

import json
import logging
from pathlib import Path

from safetensors import SafetensorError, safe_open

from kvorum.errors import KvorumError
from kvorum.files import atomic
from kvorum.predictions import Predictions
from kvorum.run.directory import CONFIG, LOG, Run
from kvorum.run.drift import identity
from kvorum.run.manifest import NAME, Manifest, Seal

log = logging.getLogger(__name__)


def relist(path: Path) -> None:
    """Make a run's manifest again where it is damaged or lost: of the files that can be read.

    Nothing can be said of contents that changed before, and it is logged that they are taken as they are.

    Raises `KvorumError` where there is no run.
    """
    try:
        if Manifest.read(path).files or not (path / CONFIG).is_file():
            return
    except KvorumError as error:
        log.warning("%s", error)
        (path / NAME).unlink()
    run = Run.open(path)
    found = [path / CONFIG]
    for file in run.unlisted():
        if (why := _unreadable(file)) is None:
            found.append(file)
        else:
            log.warning("%s is left out: %s", file, why)
    if _whole_lines(path / LOG):
        found.append(path / LOG)
    made = Manifest(path, {file.relative_to(path).as_posix(): Seal.of(file) for file in found})
    made.identity = identity(run.config, run.facts)
    made.write()
    log.warning(
        "%s is made again of %d files as they are: that they are as they were written, nothing can say",
        path / NAME,
        len(found),
    )


def _unreadable(file: Path) -> str | None:
    try:
        if file.suffix == ".parquet":
            Predictions.load(file)
        else:
            with safe_open(str(file), framework="np") as tensors:
                tensors.keys()
    except (KvorumError, SafetensorError, OSError) as error:
        return str(error)
    return None


def _whole_lines(file: Path) -> bool:
    """Whether there is a log with a whole line; what is no line, and what comes after it, is cut off."""
    if not file.is_file():
        return False
    kept = []
    for line in file.read_bytes().splitlines(keepends=True):
        try:
            json.loads(line)
        except ValueError:
            break
        if not line.endswith(b"\n"):
            break
        kept.append(line)
    with atomic(file) as temporary:
        temporary.write_bytes(b"".join(kept))
    return bool(kept)
