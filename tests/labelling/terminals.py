"""A command in a real terminal of its own, driven key by key."""

import fcntl
import os
import pty
import re
import select
import struct
import sys
import termios
import time
from pathlib import Path

SEQUENCES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
COMMAND = [sys.executable, "-c", "from kvorum.cli import main; main()"]


class Terminal:
    """A child in a pseudo-terminal."""

    def __init__(self, *arguments: str, columns: int = 80, rows: int = 40, folder: Path | None = None) -> None:
        self.child, self.handle = pty.fork()
        if self.child == 0:
            if folder is not None:
                os.chdir(folder)
            os.environ |= {"TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8"}
            for name in ("COLUMNS", "LINES", "NO_COLOR"):
                os.environ.pop(name, None)
            os.execv(COMMAND[0], [*COMMAND, *arguments])
        self.resize(columns, rows)
        self.raw = b""
        self.seen = 0
        self.status: int | None = None

    def resize(self, columns: int, rows: int = 40) -> None:
        fcntl.ioctl(self.handle, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    @property
    def text(self) -> str:
        """All that was written, without what steers the terminal."""
        return SEQUENCES.sub("", self.raw.decode("utf-8", "replace")).replace("\r\n", "\n")

    def _read(self, seconds: float) -> bool:
        ready, _, _ = select.select([self.handle], [], [], seconds)
        if not ready:
            return True
        try:
            part = os.read(self.handle, 65536)
        except OSError:  # the child has gone
            part = b""
        self.raw += part
        return bool(part)

    def until(self, words: str, seconds: float = 30) -> str:
        """What was written since the last call, once it holds these words and a key is waited for."""
        end = time.monotonic() + seconds
        while words not in self.text[self.seen :] or termios.tcgetattr(self.handle)[3] & termios.ICANON:
            assert self._read(0.005), f"it ended without {words!r}:\n{self.text}"
            assert time.monotonic() < end, f"no {words!r} in:\n{self.text[self.seen :]}"
        fresh, self.seen = self.text[self.seen :], len(self.text)
        return fresh

    def press(self, keys: str, words: str) -> str:
        os.write(self.handle, keys.encode())
        return self.until(words)

    def end(self, keys: str = "", seconds: float = 30) -> str:
        """All that is written until the child ends, after a last key."""
        os.write(self.handle, keys.encode())
        end = time.monotonic() + seconds
        while self._read(0.05):
            assert time.monotonic() < end, f"it does not end:\n{self.text[self.seen :]}"
        self.status = os.waitstatus_to_exitcode(os.waitpid(self.child, 0)[1])
        os.close(self.handle)
        return self.text[self.seen :]
