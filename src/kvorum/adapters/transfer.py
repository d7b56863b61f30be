"""From the CPU to where a model computes, without waiting for it."""

import torch
from torch import Tensor


def sent(values: Tensor, device: torch.device) -> Tensor:
    """The same values on another device; a copy to a GPU waits for nothing that runs there.

    From pinned memory, since CUDA may wait for all work before it copies from any other.
    """
    if device.type == "cuda" and values.device.type == "cpu":
        values = values.pin_memory()
    # To a CPU it would be read before it has come.
    return values.to(device, non_blocking=device.type != "cpu")
