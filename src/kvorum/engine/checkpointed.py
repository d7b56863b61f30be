"""Each layer computed twice while fitting, rather than all kept that its backward pass needs."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint, set_checkpoint_early_stop

from kvorum.adapters import Attachment
from kvorum.engine.last_layer import decoder_layers
from kvorum.engine.spread import is_offloaded
from kvorum.errors import KvorumError


@contextmanager
def checkpointed(attachment: Attachment, *, wanted: bool) -> Iterator[None]:
    """Keep of each decoder layer only what it was given, for passes with gradients inside the block.

    Not by transformers' own checkpointing, which acts on layers in training mode alone: some draw dropout of their own
    then, in their forward.

    Raises `KvorumError` for a model whose layers transformers does not know.
    """
    if not wanted:
        yield
        return
    refuse_uncheckpointable(attachment.model)
    layers: list[Any] = decoder_layers(attachment.model)
    before = {layer: layer.__dict__.get("forward") for layer in layers}
    # A layer that is left before its end would not be told to let go of a weight that was brought in for it.
    to_the_end = set_checkpoint_early_stop(False) if is_offloaded(attachment.model) else nullcontext()
    for layer in layers:
        layer.forward = _Twice(layer.forward, attachment)
    try:
        with to_the_end:
            yield
    finally:
        for layer, forward in before.items():
            if forward is None:
                del layer.forward
            else:
                layer.forward = forward


def refuse_uncheckpointable(model: nn.Module) -> None:
    """Raise `KvorumError` for a model of which no layer can be computed twice."""
    if not decoder_layers(model):
        raise KvorumError(
            f"gradient_checkpointing: {type(model).__name__} has no layers that transformers can compute twice; leave "
            "it off"
        )


def is_checkpointed(layer: nn.Module) -> bool:
    """Whether a layer is computed twice."""
    return isinstance(layer.__dict__.get("forward"), _Twice)


class _Twice:
    """What a layer computes, and computes again when the gradients come."""

    def __init__(self, forward: Callable[..., Any], attachment: Attachment) -> None:
        self.forward, self.attachment = forward, attachment

    def __call__(self, *given: Any, **named: Any) -> Any:
        # The route is forgotten when a pass has gone forward, and the second time comes with the pass that goes back.
        return checkpoint(
            self.forward,
            *given,
            use_reentrant=False,
            preserve_rng_state=False,
            context_fn=lambda: (nullcontext(), _as_now(self.attachment)),
            **named,
        )


def _as_now(attachment: Attachment) -> AbstractContextManager[None]:
    route = attachment.route
    if route is None:
        return nullcontext()
    return attachment.routed(route, attachment.read, attachment.read_route)
