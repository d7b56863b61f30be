"""Being ended by a signal while keys are read: the terminal is given back as it was."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Ended(KeyboardInterrupt):
    """A signal has ended the labelling; what was labelled is in the file."""

    def __init__(self, number: int) -> None:
        super().__init__(f"ended by {signal.Signals(number).name}")
        self.signal = number


@contextmanager
def left_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP leave the block as Ctrl-C does; `Ended` is raised after it.

    By default they would end the process in the midst of it, with the terminal taking keys one by one and echoing none.
    Only in the main thread, since Python gives signals to no other, and only where nobody else has taken charge of a
    signal.
    """
    asked: list[int] = []

    def leave(number: int, _: object) -> None:
        asked.append(number)
        if len(asked) == 1:
            raise KeyboardInterrupt

    before = {}
    if threading.current_thread() is threading.main_thread():
        numbers = (getattr(signal, name, None) for name in ("SIGTERM", "SIGHUP"))  # Windows has one of them
        ours = (number for number in numbers if number and signal.getsignal(number) == signal.SIG_DFL)
        before = {number: signal.signal(number, leave) for number in ours}
    try:
        yield
    except (KeyboardInterrupt, OSError):
        # A terminal that has gone takes no words.
        if not asked:
            raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if asked:
        raise Ended(asked[0])
