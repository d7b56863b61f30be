"""Weights & Biases: a run of a stable id, in the project that WANDB_PROJECT names, or "kvorum"."""

import importlib
import os
from collections.abc import Mapping
from typing import Any

from kvorum.tracking.tracker import PROJECT, TrackedRun

STEP = "step"


class Wandb:
    """Reports to wandb, whose own environment variables say where to and whether at all."""

    def __init__(self) -> None:
        self.run: Any = None

    def start(self, run: TrackedRun) -> int:
        """Go on with the run of the same id, or begin it."""
        wandb = importlib.import_module("wandb")
        self.run = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or PROJECT,
            id=run.id,
            name=run.name,
            resume="allow",
            # What is printed stays where it is printed: bars are none of a tracker's concern.
            settings=wandb.Settings(console="off"),
            # Its files hold links, which a run directory must not: they lie where wandb itself puts them.
        )
        self.run.config.update(dict(run.settings), allow_val_change=True)
        # By a number of ours, since wandb's own only ever rises, and an older epoch can be scored later.
        self.run.define_metric(STEP, hidden=True)
        self.run.define_metric("*", step_metric=STEP)
        return run.held

    def log(self, scalars: Mapping[str, float], step: int) -> None:
        """Queue them; wandb sends them by itself."""
        self.run.log({**scalars, STEP: step})

    def finish(self, ok: bool) -> None:
        """Wait until all is sent."""
        self.run.finish(exit_code=0 if ok else 1)
