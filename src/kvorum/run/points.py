"""Where a fit was saved."""

from typing import NamedTuple


class Point(NamedTuple):
    """Where a fit was saved: after some whole epochs, and some steps of the next."""

    epoch: int
    step: int = 0

    def __str__(self) -> str:
        return f"epoch {self.epoch}" if not self.step else f"epoch {self.epoch + 1}, step {self.step}"
