"""Reading what somebody else may have put there: plain files, and no more of them than there is memory for."""

import os
import re
import stat
from pathlib import Path

from kvorum.errors import KvorumError

CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters by which text steers a terminal, and halves of characters: all controls but tab and newline."""


def read_bounded(path: Path, most: int) -> bytes:
    """The contents of a file.

    Raises `KvorumError` for one of more than `most` bytes and for what is no plain file (a device, a pipe), and OSError
    for one that cannot be read.
    """
    # A pipe that nobody writes to would be waited for.
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise KvorumError(f"{path}: is no plain file")
        content = file.read(most + 1)
    if len(content) > most:
        raise KvorumError(f"{path}: is longer than {most:,} bytes")
    return content


def refuse_links(folder: Path) -> None:
    """Raise `KvorumError` if anything in a folder leads out of it or is no plain file: links, devices, pipes.

    The folder itself may be a link.
    """
    for where, folders, files in os.walk(folder):
        for name in (*folders, *files):
            try:
                mode = (Path(where) / name).lstat().st_mode
            except FileNotFoundError:
                continue  # a fit beside has renamed it in the meantime
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                what = "a link" if stat.S_ISLNK(mode) else "no plain file"
                raise KvorumError(f"{Path(where) / name}: is {what}, and nothing in a run directory may lead out of it")
