"""Writing a file so that a reader sees the old one or the new one whole, never half of either."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kvorum.errors import KvorumError


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """A path to write to in place of `path`: flushed to the disk and renamed over it when the block ends well.

    The block must create the file at the path it is given and close it. If it raises, what it wrote is removed and
    what lay at `path` before stays. The name handed out ends in `.tmp` whatever the suffix of `path`, so a writer that
    reads its format off the name must be told the format.

    Raises KvorumError when the folder does not exist or `path` is itself a folder.
    """
    path = Path(path)
    if path.is_dir():
        raise KvorumError(f"{path} is a folder; expected the name of a file to write")
    if not path.parent.is_dir():
        raise KvorumError(f"{path}: the folder {path.parent} does not exist; make it first, or write elsewhere")
    # Cut, because the random part must still fit where the name alone nearly fills the 255 bytes a name may have.
    beside = path.parent / f".{path.name[:40]}.{secrets.token_hex(6)}.tmp"
    try:
        yield beside
        _flush(beside)
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    _flush_folder(path.parent)


def _flush(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    """Make the rename itself outlive a power cut; only POSIX can open a folder for that."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
