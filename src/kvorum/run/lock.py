"""One process at a time on a run directory."""

import json
import logging
import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from kvorum.bounded import read_bounded, refuse_links
from kvorum.errors import KvorumError
from kvorum.files import atomic, make_folder

LOCK, HOLDER = "lock", "lock.json"
"""What is locked, and beside it who holds the lock: whoever locks a file empties it."""

log = logging.getLogger(__name__)


@contextmanager
def locked(path: str | Path) -> Iterator[None]:
    """Be the only process that writes to a run directory.

    Raises `KvorumError`, naming the process, where another one is. The system frees the lock of a process that died.
    """
    path = Path(path)
    try:
        make_folder(path)
    except OSError as error:
        raise KvorumError(f"{path}: cannot be a run directory ({error.strerror})") from None
    refuse_links(path)
    lock = FileLock(path / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise KvorumError(
            f"{path}: {_named(_holder(path))} is working on this run; wait for it, or choose another --out"
        ) from None
    except OSError as error:
        raise KvorumError(f"{path}: cannot be written to ({error.strerror or error})") from error
    try:
        if (dead := _holder(path)) is not None:
            log.info("%s: %s ended without giving its lock back; taken over", path, _named(dead))
        with atomic(path / HOLDER) as temporary:
            temporary.write_text(json.dumps(_ourselves()), encoding="utf-8")
        yield
    finally:
        try:
            (path / HOLDER).unlink(missing_ok=True)
        except OSError as error:
            log.warning("%s could not be removed, which does no harm: %s", path / HOLDER, error.strerror)
        lock.release()


def _ourselves() -> dict[str, Any]:
    return {
        "pid": os.getpid(),
        "host": platform.node(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])[:200] if sys.argv else "",
    }


def _holder(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(read_bounded(path / HOLDER, 65_536))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _named(holder: dict[str, Any] | None) -> str:
    if holder is None:
        return "another process"
    host = f" on {holder.get('host')}" if holder.get("host") != platform.node() else ""
    return f"process {holder.get('pid')}{host} ({holder.get('command')}, since {holder.get('since')})"
