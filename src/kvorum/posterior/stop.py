"""Being asked to stop: the first signal lets a fit save what it has, the second ends it at once."""

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

NOTICE = b"\nstopping: what is computed is saved first; the same signal again leaves at once\n"


class Stopped(KeyboardInterrupt):
    """A fit was asked to stop, and has saved all that it had."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.signal = number


class StopRequest:
    """While a `with` block runs, SIGINT (Ctrl-C) and SIGTERM ask for a stop instead of making one.

    Only in the main thread, since Python gives signals to no other, and only where nobody else has taken charge of a
    signal: one that is ignored, as in a shell's background, or that has a handler of the caller's, is left alone.
    """

    def __init__(self) -> None:
        self.asked: int | None = None
        """The signal that asked, if any has."""
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            for number, default in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
                if signal.getsignal(number) == default:
                    self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked is not None:
            raise KeyboardInterrupt
        self.asked = number
        # Straight to the terminal: a log handler may be in the midst of a line when the signal comes.
        os.write(2, NOTICE)
