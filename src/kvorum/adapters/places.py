"""Where a module computes: a base model may be spread over several devices."""

from typing import Any

import torch
from torch import nn


def device_of(module: nn.Module) -> torch.device:
    """Where a module computes.

    That is where its weights lie, but for one whose weights accelerate brings in for each pass and takes out again.
    """
    hook: Any = getattr(module, "_hf_hook", None)
    for one in (hook, *getattr(hook, "hooks", ())):
        place = getattr(one, "execution_device", None)
        if place is not None:
            return torch.device(place)
    return next(module.parameters()).device


def first_device(model: nn.Module) -> torch.device:
    """Where a model takes its tokens."""
    embeddings = getattr(model, "get_input_embeddings", lambda: None)()
    return device_of(model if embeddings is None else embeddings)
