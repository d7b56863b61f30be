"""A base model that accelerate has spread over several devices, or partly off them."""

from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from kvorum.engine.pack import Pack

# What a pass is given that no module may move: it is read where it lies, or finds its own way.
LEFT = ("kvorum_layout", "logits_to_keep")


def leave_in_place(model: nn.Module) -> None:
    """Let accelerate move what passes between devices, but neither a pack's layout nor the logits.

    The layout would be sent with every layer, though once for each device does; the logits are read on the device of
    the head.
    """
    for module in model.modules():
        hook: Any = getattr(module, "_hf_hook", None)
        if hook is not None and hasattr(hook, "skip_keys"):
            before = hook.skip_keys or ()
            hook.skip_keys = [*([before] if isinstance(before, str) else before), *LEFT]
            hook.io_same_device = False


def is_spread(model: nn.Module) -> bool:
    """Whether a model's parts may lie on several devices."""
    return len(set((getattr(model, "hf_device_map", None) or {}).values())) > 1


def is_offloaded(model: nn.Module) -> bool:
    """Whether some of a model's weights are brought in for each pass, from memory or a disk, and taken out again."""
    return any(getattr(one, "offload", False) for module in model.modules() for one in _hooks(module))


def has_hooks(model: nn.Module) -> bool:
    """Whether accelerate acts on what a model computes."""
    return any(_hooks(module) for module in model.modules())


def _hooks(module: nn.Module) -> tuple[Any, ...]:
    hook: Any = getattr(module, "_hf_hook", None)
    return () if hook is None else (hook, *getattr(hook, "hooks", ()))


def kept_for(model: nn.Module, pack: Pack) -> Int[Tensor, " kept"]:
    """The tokens whose predictions reach the LM head, where the model can use them as an index.

    That is wherever its last hidden states lie; of a model that is spread over devices, an index on the CPU does.
    """
    return pack.kept.to(torch.device("cpu")) if is_spread(model) else pack.kept
