"""Each layer computed twice while fitting, rather than all kept that its backward pass needs."""

import functools
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint

from kvorum.adapters import Attachment
from kvorum.engine.last_layer import decoder_layers
from kvorum.errors import KvorumError


@contextmanager
def checkpointed(attachment: Attachment, *, wanted: bool) -> Iterator[None]:
    """Keep of each decoder layer only what it was given, for passes with gradients inside the block.

    By transformers' own checkpointing of its layers, which acts where a layer is in training mode: the layer alone is
    set to it, what lies in it is not.

    Raises `KvorumError` for a model whose layers transformers does not know.
    """
    if not wanted:
        yield
        return
    layers: list[Any] = list(decoder_layers(attachment.model))
    if not layers:
        raise KvorumError(
            f"gradient_checkpointing: {type(attachment.model).__name__} has no layers that transformers can compute "
            "twice; leave it off"
        )
    # The route is forgotten when a pass has gone forward, and the second time comes with the pass that goes back.
    again = functools.partial(
        checkpoint,
        use_reentrant=False,
        preserve_rng_state=False,
        context_fn=lambda: (nullcontext(), _as_now(attachment)),
    )
    for layer in layers:
        layer.gradient_checkpointing, layer._gradient_checkpointing_func, layer.training = True, again, True
    try:
        yield
    finally:
        for layer in layers:
            del layer.gradient_checkpointing, layer._gradient_checkpointing_func
            layer.training = False


def is_checkpointed(layer: nn.Module) -> bool:
    """Whether a layer is computed twice."""
    return bool(getattr(layer, "gradient_checkpointing", False)) and layer.training


def _as_now(attachment: Attachment) -> AbstractContextManager[None]:
    route = attachment.route
    if route is None:
        return nullcontext()
    return attachment.routed(route, attachment.read, attachment.read_route)
