"""The last layer computed where it is read: of most tokens it makes something that reaches nobody."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer

from kvorum.adapters import Attachment, LoRALayer

# Parts of a decoder layer that compute every token by itself, and feed only its own residual stream.
PARTS = ("self_attn.o_proj", "mlp")


class ReadOnly(nn.Module):
    """A part of the last layer at the tokens that are read; zero at the others."""

    def __init__(self, part: nn.Module, attachment: Attachment) -> None:
        super().__init__()
        self.part = part
        # Held in a tuple so that the attachment, which holds the model, is no submodule of the model.
        self._attachment = (attachment,)

    def forward(self, x: Float[Tensor, "1 token in_"]) -> Any:
        """What the part returns, its first result as long as x, where it returns several."""
        (attachment,) = self._attachment
        if attachment.read is None:
            return self.part(x)
        read = attachment.read.to(x.device)
        found = self.part(x.index_select(1, read))
        first, *others = found if isinstance(found, tuple) else (found,)
        whole = first.new_zeros(1, x.shape[1], first.shape[-1]).index_copy(1, read, first)
        return (whole, *others) if isinstance(found, tuple) else whole


def decoder_layers(model: nn.Module) -> list[nn.Module]:
    """The layers of a transformers model, from the first to the last; empty where it does not say which they are."""
    return [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]


@contextmanager
def only_where_read(attachment: Attachment) -> Iterator[None]:
    """Cut the last layer's work inside the block to the tokens that `Attachment.routed` says are read."""
    layers = decoder_layers(attachment.model)
    cut: dict[str, nn.Module] = {}
    modules = dict(layers[-1].named_modules()) if layers else {}
    for name in PARTS:
        if name in modules:
            cut[name] = modules[name]
            layers[-1].set_submodule(name, ReadOnly(modules[name], attachment))
    adapted = [layer for part in cut.values() for layer in part.modules() if isinstance(layer, LoRALayer)]
    for layer in adapted:
        layer.where_read = True
    try:
        yield
    finally:
        for name, module in cut.items():
            layers[-1].set_submodule(name, module)
        for layer in adapted:
            layer.where_read = False
