"""Where a fit was saved."""

from pathlib import Path
from typing import NamedTuple


class Point(NamedTuple):
    """Where a fit was saved: after some whole epochs, and some steps of the next."""

    epoch: int
    step: int = 0

    def __str__(self) -> str:
        return f"epoch {self.epoch}" if not self.step else f"epoch {self.epoch + 1}, step {self.step}"


def run_and_epoch(path: str | Path) -> tuple[Path, int | None]:
    """The run directory that a path names, and the epoch, where it names one: `RUN`, or `RUN/epochs/003`."""
    path = Path(path)
    if path.parent.name == "epochs" and path.name.isdigit():
        return path.parent.parent, int(path.name)
    return path, None
