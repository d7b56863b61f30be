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
from collections.abc import Sequence

SEQUENCES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
COMMAND = [sys.executable, "-c", "from kvorum.cli import main; main()"]


class Terminal:
    """A child in a pseudo-terminal."""

    def __init__(self, *arguments: str, columns: int = 80, rows: int = 40, command: Sequence[str] = COMMAND) -> None:
        self.child, self.handle = pty.fork()
        if self.child == 0:
            # Not os.environ itself: readline, which pytest loads, sets COLUMNS behind its back.
            here = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
            os.execve(
                command[0], [*command, *arguments], here | {"TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8"}
            )
        self.resize(columns, rows)
        self.raw = b""
        self.seen = 0
        self.status: int | None = None
        self.flags = 0
        """Of the terminal, as the child has left it."""

    def resize(self, columns: int, rows: int = 40) -> None:
        fcntl.ioctl(self.handle, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    @property
    def text(self) -> str:
        """All that was written, without what steers the terminal and without spaces at the ends of lines."""
        plain = SEQUENCES.sub("", self.raw.decode("utf-8", "replace"))
        return re.sub(r" *\r\n", "\n", plain)

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
        self.flags = termios.tcgetattr(self.handle)[3]
        os.close(self.handle)
        return self.text[self.seen :]
