"""Which trackers there are, and what each of them needs."""

import importlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass

from kvorum.errors import KvorumError
from kvorum.tracking.tracker import Tracker


@dataclass(frozen=True)
class Backend:
    """A tracker's package and our class for it."""

    module: str
    """What is imported."""
    package: str
    """What is installed."""
    ours: str


BACKENDS = {
    "tensorboard": Backend("tensorboard", "tensorboard", "kvorum.tracking.tensorboard:TensorBoard"),
    "wandb": Backend("wandb", "wandb", "kvorum.tracking.wandb:Wandb"),
    "mlflow": Backend("mlflow", "mlflow", "kvorum.tracking.mlflow:MLflow"),
    "trackio": Backend("trackio", "trackio", "kvorum.tracking.trackio:Trackio"),
}


def refuse_missing(names: Sequence[str]) -> None:
    """Raise `KvorumError` where a tracker's package is not installed."""
    for name in names:
        backend = BACKENDS[name]
        if importlib.util.find_spec(backend.module) is None:
            raise KvorumError(
                f"track is {name}, whose package is not installed: pip install {backend.package}, or all trackers with "
                "pip install 'kvorum[track]'"
            )


def tracker(name: str) -> Tracker:
    """A tracker by its name, not yet started."""
    module, _, ours = BACKENDS[name].ours.partition(":")
    return getattr(importlib.import_module(module), ours)()
