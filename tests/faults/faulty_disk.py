"""A disk that fails when it is told to: in a child process, around the calls by which files change.

Every change of a file's name, every flush, cut and removal is counted. At a chosen count the process is killed, loses
its power, or is told that the disk is full.
"""

import contextlib
import errno
import os
import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

WATCHED = ("replace", "fsync", "unlink", "mkdir", "rmdir", "truncate")


class FaultyDisk:
    """What happens at a count: "kill" before the call, "power" cut before it, or an error ("ENOSPC", "EROFS", ...)."""

    def __init__(self, folder: Path, *, at: int | None = None, what: str = "kill", lasting: bool = True, seed: int = 0):
        self.folder, self.at, self.what, self.lasting = folder, at, what, lasting
        self.random = random.Random(seed)
        self.count = 0
        self.real: dict[str, Callable[..., Any]] = {name: getattr(os, name) for name in WATCHED}
        self.pending: dict[str, list[Callable[[], None]]] = {}
        """By folder, how to undo changes of names that no flush of the folder has made lasting."""
        self.backups = folder.parent / f".{folder.name}.backups-{os.getpid()}"
        self.flushed = {file.stat().st_ino: file.stat().st_size for file in folder.rglob("*") if file.is_file()}
        """By inode, how many bytes of a file are on the disk."""

    def install(self) -> None:
        for name in WATCHED:
            setattr(os, name, self._watching(name))

    def _watching(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            if not self._here(arguments[0]):
                return self.real[name](*arguments, **named)
            self.count += 1
            if self.at is not None and (self.count == self.at or (self.count > self.at and self.lasting)):
                self._fail(name, arguments)
            if self.what == "power":
                getattr(self, f"_before_{name}", lambda *rest: None)(*arguments)
            result = self.real[name](*arguments, **named)
            if self.what == "power":
                getattr(self, f"_after_{name}", lambda *rest: None)(*arguments)
            return result

        return call

    def _here(self, file: Any) -> bool:
        path = os.readlink(f"/proc/self/fd/{file}") if isinstance(file, int) else os.path.abspath(file)
        # The folder above holds the name of this one.
        inside = path == str(self.folder.parent) or Path(path).is_relative_to(self.folder)
        return inside and Path(path).name != "lock"

    def _fail(self, name: str, arguments: tuple[Any, ...]) -> None:
        if self.what in ("kill", "power"):
            if self.what == "power":
                self._cut_power()
            os.kill(os.getpid(), signal.SIGKILL)
        # A full disk still removes files and cuts them short.
        elif self.what != "ENOSPC" or name not in ("unlink", "rmdir", "truncate"):
            code = getattr(errno, self.what)
            raise OSError(code, os.strerror(code), None if isinstance(arguments[0], int) else str(arguments[0]))

    def _backup(self, file: Any) -> Path | None:
        if not os.path.exists(file):
            return None
        self.backups.mkdir(exist_ok=True) if not self.backups.exists() else None
        kept = self.backups / str(self.count)
        os.link(file, kept)
        return kept

    def _later(self, changed: Any, undo: Callable[[], None]) -> None:
        self.pending.setdefault(os.path.dirname(os.path.abspath(changed)), []).append(undo)

    def _before_replace(self, source: Any, target: Any) -> None:
        kept = self._backup(target)

        def undo() -> None:
            if os.path.exists(target):
                self.real["unlink"](target)
            if kept is not None:
                os.link(kept, target)

        self._later(target, undo)

    def _before_unlink(self, file: Any, *rest: Any) -> None:
        kept = self._backup(file)
        if kept is not None:
            self._later(file, lambda: None if os.path.exists(file) else os.link(kept, file))

    def _after_mkdir(self, folder: Any, *rest: Any) -> None:
        self._later(folder, lambda: shutil.rmtree(folder, ignore_errors=True))

    def _before_truncate(self, file: Any, size: int) -> None:
        inode = os.stat(file).st_ino
        self.flushed[inode] = min(self.flushed.get(inode, 0), size)

    def _after_fsync(self, handle: int) -> None:
        path = os.readlink(f"/proc/self/fd/{handle}")
        if os.path.isdir(path):
            self.pending.pop(path, None)
        else:
            state = os.fstat(handle)
            self.flushed[state.st_ino] = state.st_size

    def _cut_power(self) -> None:
        """Leave of what was not flushed what chance leaves: the newest changes of names undone, contents cut short."""
        for name, real in self.real.items():
            setattr(os, name, real)
        for undos in self.pending.values():
            for undo in undos[: -self.random.randint(0, len(undos)) - 1 : -1]:
                # A folder that has gone with the power has taken along what was changed in it.
                with contextlib.suppress(FileNotFoundError):
                    undo()
        for file in [*self.folder.rglob("*")]:
            if file.is_file():
                size, there = file.stat().st_size, self.flushed.get(file.stat().st_ino, 0)
                if size > there:
                    os.truncate(file, self.random.randint(there, size))
        shutil.rmtree(self.backups, ignore_errors=True)
