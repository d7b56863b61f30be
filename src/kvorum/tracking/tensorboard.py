"""TensorBoard: event files in RUN/tensorboard, or in its own default folder for a fit that is not kept."""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kvorum.tracking.tracker import TrackedRun, as_text

FOLDER = "tensorboard"


class TensorBoard:
    """Writes event files, which `tensorboard --logdir RUN/tensorboard` shows."""

    def __init__(self) -> None:
        self.writer: Any = None

    def start(self, run: TrackedRun) -> int:
        """Go on after the steps that the fit has behind it; later ones are taken back, since they are done again."""
        folder = run.folder / FOLDER if run.folder is not None else None
        held = min(run.held, run.taken) if folder is not None and _holds_events(folder) else -1
        writer = importlib.import_module("torch.utils.tensorboard").SummaryWriter
        self.writer = writer(None if folder is None else str(folder), purge_step=held + 1)
        rows = "".join(f"| {name} | {as_text(value)} |\n" for name, value in run.settings.items())
        self.writer.add_text("settings", f"| setting | value |\n|---|---|\n{rows}", max(held, 0))
        self.writer.flush()
        return held

    def log(self, scalars: Mapping[str, float], step: int) -> None:
        """Write them to the file, where they outlive this process."""
        for name, value in scalars.items():
            self.writer.add_scalar(name, value, step)
        self.writer.flush()

    def finish(self, ok: bool) -> None:
        """Close the file."""
        self.writer.close()


def _holds_events(folder: Path) -> bool:
    return any(folder.glob("events.out.tfevents.*"))
