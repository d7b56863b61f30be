"""Writing a file so that a reader sees the old one or the new one whole, never half of either."""

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kvorum.errors import KvorumError

TEMPORARY = (".*.tmp", ".tmp*")
"""The names, as globs, of what a killed process leaves behind: of ours, and of safetensors, until files are whole."""


def half_written(name: str) -> bool:
    """Whether a file of this name is one that `atomic` was writing."""
    return name.startswith(".") and name.endswith(".tmp")


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """A path to write to in place of `path`: flushed to the disk and renamed over it when the block ends well.

    The block must create the file at the path it is given and close it. If it raises, what it wrote is removed and
    what lay at `path` before stays. The name handed out ends in `.tmp` whatever the suffix of `path`, so a writer that
    reads its format off the name must be told the format.

    Raises KvorumError when the folder does not exist or `path` is itself a folder, and OSError, naming `path`, when
    the disk does not take the file.
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
        flush(beside)
        os.replace(beside, path)
    except BaseException as error:
        try:
            beside.unlink(missing_ok=True)
        except OSError as second:
            # A read-only disk takes no removal either; the first error says more.
            error.add_note(f"{beside} could not be removed: {second}")
        if isinstance(error, OSError) and error.errno and str(error.filename or beside).endswith(".tmp"):
            # By the name that the file should have had, and in the words of the system: writers have words of theirs.
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
        raise
    _flush_folder(path.parent)


def make_folder(path: Path) -> None:
    """Make a folder, and those above it, so that they outlive a power cut."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in reversed(missing):
        _flush_folder(folder.parent)


def remove(path: Path) -> None:
    """Remove a file, for good: also after a power cut."""
    path.unlink(missing_ok=True)
    if path.parent.is_dir():
        _flush_folder(path.parent)


def replace(source: Path, target: Path) -> None:
    """Rename a file over another in the same folder, for good: also after a power cut."""
    os.replace(source, target)
    _flush_folder(target.parent)


def sha256(path: Path, size: int | None = None) -> str:
    """The SHA-256 of a file, or of its first bytes, in hexadecimal."""
    with path.open("rb") as file:
        if size is None:
            return hashlib.file_digest(file, "sha256").hexdigest()
        digest = hashlib.sha256()
        while size > 0 and (part := file.read(min(size, 2**20))):
            digest.update(part)
            size -= len(part)
        return digest.hexdigest()


def flush(path: Path) -> None:
    """Wait until a file's contents are on the disk."""
    with path.open("rb+") as file:
        _fsync(file.fileno(), path)


def _fsync(handle: int, path: Path) -> None:
    try:
        os.fsync(handle)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def _flush_folder(folder: Path) -> None:
    """Make a change of names outlive a power cut; only POSIX can open a folder for that."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        _fsync(handle, folder)
    finally:
        os.close(handle)
