"""Storage that all workers reach: a shared folder, or anything that pyarrow writes to by a URL."""

import contextlib
import dataclasses
import logging
import re
import secrets
import shutil
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

from kvorum.errors import KvorumError, first_line
from kvorum.files import atomic, half_written, make_folder, remove

OBJECT_STORES = ("s3", "s3a", "gcs", "gs", "abfs", "az")
"""File systems without folders, in which a file appears when it is closed."""
AT_ONCE = 2**22
"""Bytes of a file that are in memory at once."""
LEGAL = "/:?&=%#@[]+,;~!$'()*"
"""What stays as it is in a URL, beside letters and digits; spaces and other letters are escaped."""
GCS_PATIENCE = 60
"""Seconds in which Google's storage must answer; its own library would try for a quarter of an hour."""

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Storage:
    """A folder on storage. Names within it are relative, with `/` between their parts.

    Raises OSError, as the file system does, where it cannot be reached.
    """

    url: str
    """A path, or a URL such as `file:///shared/runs/x`, `s3://bucket/runs/x`, `gs://bucket/runs/x`."""
    folder: str = ""
    """Within it."""

    def __post_init__(self) -> None:
        if not is_url(self.url):
            # A relative path would be another where a worker runs.
            object.__setattr__(self, "url", str(Path(self.url).absolute()))

    def within(self, name: str) -> "Storage":
        """A folder in this one."""
        return dataclasses.replace(self, folder=f"{self.folder}/{name}" if self.folder else name)

    def __str__(self) -> str:
        shown = self.url.rstrip("/")
        if is_url(self.url):
            # What follows a question mark are options of the file system, and may hold a key, as what is before an @.
            scheme, _, rest = self.url.partition("?")[0].rstrip("/").partition("://")
            shown = f"{scheme}://{re.sub('^[^/]*@', '', rest)}"
        return f"{shown}/{self.folder}" if self.folder else shown

    @property
    def name(self) -> str:
        """The last part of its path."""
        return str(self).rstrip("/").rpartition("/")[2]

    @cached_property
    def path(self) -> Path | None:
        """The folder, where it is one of this machine's file system; None of other storage."""
        system, root = self._found
        return Path(root) / self.folder if system.type_name == "local" else None

    @cached_property
    def _found(self) -> tuple[Any, str]:
        """pyarrow's file system, and the path in it."""
        from pyarrow import ArrowException, fs

        if not is_url(self.url):
            return fs.LocalFileSystem(), str(Path(self.url).absolute())
        url = quote(self.url, safe=LEGAL)
        if (host := re.match(r"file://([^/?]+)", url)) is not None:
            raise KvorumError(
                f"storage '{self}': {host[1]} is read as the name of a machine; write file:// and a path from the "
                "root, with three slashes in all (file:///shared/runs/x), or the path alone"
            )
        if url.startswith(("gs://", "gcs://")) and "retry_limit_seconds=" not in url:
            url += f"{'&' if '?' in url else '?'}retry_limit_seconds={GCS_PATIENCE}"
        try:
            return fs.FileSystem.from_uri(url)
        except (ArrowException, OSError, ValueError) as error:
            if not isinstance(error, NotImplementedError) and "Unrecognized filesystem type" not in str(error):
                raise self._unusable(first_line(error)) from error
            return self._by_fsspec()

    def _by_fsspec(self) -> tuple[Any, str]:
        """By fsspec, for what pyarrow does not know by itself."""
        from pyarrow import fs

        try:
            import fsspec

            system, path = fsspec.url_to_fs(self.url)
        except (ImportError, ValueError, OSError, TypeError) as error:
            raise self._unusable(f"neither pyarrow nor fsspec ({first_line(error)}) knows it") from error
        return fs.PyFileSystem(fs.FSSpecHandler(system)), path

    def _unusable(self, why: str) -> KvorumError:
        # Libraries quote the URL with all its options.
        said = why if "?" not in self.url and "@" not in self.url else re.sub(r"'[^']*(://|\?|@)[^']*'", "its URL", why)
        return KvorumError(
            f"storage '{self}': {said}; give a path, or a URL such as file:///shared/runs/x, s3://bucket/runs/x or "
            "gs://bucket/runs/x"
        )

    def _at(self, name: str) -> str:
        parts = (self._found[1].rstrip("/"), self.folder, name)
        return "/".join(part for part in parts if part)

    def read(self, name: str) -> bytes | None:
        """The contents of a small file; None where there is none."""
        if self.path is not None:
            try:
                return (self.path / name).read_bytes()
            except FileNotFoundError:
                return None
        try:
            with self._found[0].open_input_stream(self._at(name)) as stream:
                return stream.read()
        except FileNotFoundError:
            return None

    def write(self, name: str, content: bytes) -> None:
        """Write a small file, whole or not at all."""
        if self.path is not None:
            make_folder((self.path / name).parent)
            with atomic(self.path / name) as temporary:
                temporary.write_bytes(content)
            return
        with self._replacing(name) as target:
            target.write(content)

    def send(self, file: Path, name: str, size: int | None = None) -> None:
        """Copy a file here, or its first bytes."""
        with file.open("rb") as source:
            if self.path is not None:
                make_folder((self.path / name).parent)
                with atomic(self.path / name) as temporary, temporary.open("wb") as target:
                    _copy(source, target, size)
                return
            with self._replacing(name) as target:
                _copy(source, target, size)

    @contextlib.contextmanager
    def _replacing(self, name: str) -> Iterator[Any]:
        """What to write to in place of a file that is not of this machine.

        Where files grow as they are written, it is one beside, which is moved over it in the end. In object stores, a
        file that was there stays until the new one is closed. pyarrow closes it after an error, too, and has no way to
        give it up: it can then be cut short. So a run's list of files, with their checksums, is sent after the files
        that it lists, and in one piece.
        """
        system = self._found[0]
        if system.type_name.rpartition("+")[2] in OBJECT_STORES:
            with system.open_output_stream(self._at(name)) as target:
                yield target
            return
        folder, slash, last = self._at(name).rpartition("/")
        system.create_dir(folder, recursive=True)
        beside = f"{folder}{slash}.{last[:40]}.{secrets.token_hex(6)}.tmp"
        try:
            with system.open_output_stream(beside) as target:
                yield target
            system.move(beside, self._at(name))
        except BaseException:
            with contextlib.suppress(OSError):  # the first error says more
                system.delete_file(beside)
            raise

    def fetch(self, name: str, file: Path) -> None:
        """Copy a file from here; raises FileNotFoundError where there is none.

        Raises `KvorumError` for a name that leads out of the folder: whoever else writes to the storage chose it.
        """
        if any(part in ("", ".", "..") for part in name.split("/")):
            raise KvorumError(f"{self} holds '{name}', which would land outside of its folder; remove it")
        make_folder(file.parent)
        if self.path is not None:
            with atomic(file) as temporary:
                shutil.copyfile(self.path / name, temporary)
            return
        with (
            self._found[0].open_input_stream(self._at(name)) as source,
            atomic(file) as temporary,
            temporary.open("wb") as target,
        ):
            _copy(source, target, None)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        if self.path is not None:
            remove(self.path / name)
            return
        try:
            self._found[0].delete_file(self._at(name))
        except FileNotFoundError:
            log.debug("%s is gone already", name)

    def remove_all(self) -> None:
        """Remove this folder with all that is in it, if it is there."""
        from pyarrow import fs

        system, place = self._found[0], self._at("")
        if system.get_file_info(place).type != fs.FileType.NotFound:
            system.delete_dir(place)

    def names(self) -> list[str]:
        """All whole files in it, in folders of it too, in the order of the alphabet."""
        from pyarrow import fs

        place = self._at("")
        found = self._found[0].get_file_info(fs.FileSelector(place, recursive=True, allow_not_found=True))
        names = (one.path[len(place) :].removeprefix("/") for one in found if one.type == fs.FileType.File)
        return sorted(name for name in names if not half_written(name.rpartition("/")[2]))

    def refuse_unwritable(self) -> None:
        """Raise `KvorumError` where nothing can be written: a file is, and removed again."""
        name = f".{secrets.token_hex(6)}.tmp"
        try:
            self.write(name, b"")
            self.remove(name)
        except KvorumError:
            raise  # of a URL that names no storage
        except (OSError, ValueError) as error:
            said = error.strerror if isinstance(error, OSError) and error.strerror else first_line(error)
            raise KvorumError(
                f"storage '{self}' cannot be written to: {said}; give a folder or a bucket that exists and that you "
                "may write to"
            ) from error


def is_url(path: str) -> bool:
    """Whether a run directory is named by a URL."""
    return "://" in path


def shown(path: str) -> str:
    """A run directory as it may be printed: a URL without the keys in it, a path as it is."""
    return str(Storage(path)) if is_url(path) else path


def _copy(source: Any, target: Any, size: int | None) -> None:
    left = float("inf") if size is None else size
    while left > 0 and (part := source.read(int(min(left, AT_ONCE)))):
        target.write(part)
        left -= len(part)
