"""A pressed key, on any system, as what it means."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import Enum

import click


class Key(Enum):
    """What is not a letter."""

    ON = "on"
    BACK = "back"
    CLEAR = "clear"
    LEAVE = "leave"
    UNKNOWN = "unknown"


NAMED = {
    " ": Key.ON,
    "\x1b[C": Key.ON,
    "\x1bOC": Key.ON,
    "\xe0M": Key.ON,
    "\x00M": Key.ON,
    "\x1b[D": Key.BACK,
    "\x1bOD": Key.BACK,
    "\xe0K": Key.BACK,
    "\x00K": Key.BACK,
    "\x7f": Key.BACK,
    "\x08": Key.BACK,
    "-": Key.CLEAR,
    "\x1b[3~": Key.CLEAR,
    "\xe0S": Key.CLEAR,
    "\x00S": Key.CLEAR,
    "\x1b": Key.LEAVE,
    "": Key.LEAVE,
}
"""By what a terminal sends: of arrows and Delete POSIX terminals and Windows send different things."""


def read_key(getchar: Callable[[], str] = click.getchar) -> str | Key:
    """The next key: a small letter, or what else it means.

    Several keys at once, as of text that is pasted, are unknown: they were not chosen one by one.
    """
    try:
        # Nothing where a signal ended the wait and the terminal has gone, too.
        pressed = getchar() or ""
    except (KeyboardInterrupt, EOFError):
        return Key.LEAVE
    if pressed in NAMED:
        return NAMED[pressed]
    if len(pressed) == 1 and pressed.isascii() and pressed.isalpha():
        return pressed.lower()
    return Key.UNKNOWN


@contextmanager
def unechoed() -> Iterator[None]:
    """Keys pressed while a label is written do not show on the terminal; Windows shows none."""
    if os.name != "posix":
        yield
        return
    import sys
    import termios

    handle = sys.stdin.fileno()
    before = termios.tcgetattr(handle)
    quiet = termios.tcgetattr(handle)
    quiet[3] &= ~termios.ECHO
    termios.tcsetattr(handle, termios.TCSADRAIN, quiet)
    try:
        yield
    finally:
        # Its window may have been closed.
        with suppress(termios.error):
            termios.tcsetattr(handle, termios.TCSADRAIN, before)
