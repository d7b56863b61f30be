"""Hidden states of pool questions in a file."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32

from kvorum.adapters.tensors import load_tensors, save_tensors
from kvorum.errors import KvorumError
from kvorum.files import atomic

FORMAT = "kvorum hidden states 1"


def save_hidden(
    path: Path, pool: Float32[np.ndarray, "example dim"], labelled: Float32[np.ndarray, "labelled dim"]
) -> None:
    """Write the states of the questions that may be chosen next, and of those that are labelled."""
    with atomic(path) as temporary:
        save_tensors(
            {"pool": torch.from_numpy(pool), "labelled": torch.from_numpy(labelled)}, temporary, {"format": FORMAT}
        )


def load_hidden(path: Path) -> tuple[Float32[np.ndarray, "example dim"], Float32[np.ndarray, "labelled dim"]]:
    """Read what `save_hidden` wrote; raises `KvorumError` for a file that is missing, damaged or something else."""
    tensors, header = load_tensors(path)
    if header.get("format") != FORMAT or tensors.keys() != {"pool", "labelled"}:
        raise KvorumError(f"{path}: holds no hidden states that kvorum wrote")
    if any(t.dtype != torch.float32 or t.ndim != 2 for t in tensors.values()):
        raise KvorumError(f"{path}: its hidden states are not of the form that kvorum wrote")
    return tensors["pool"].numpy(), tensors["labelled"].numpy()
