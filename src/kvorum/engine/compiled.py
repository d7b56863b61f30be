"""The decoder layer compiled, where that works: elementwise work is fused, and most of it waits for memory.

One layer is compiled for all, since they differ in their weights alone.
"""

import functools
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from kvorum.adapters import Attachment
from kvorum.engine.checkpointed import is_checkpointed
from kvorum.engine.last_layer import decoder_layers
from kvorum.engine.pack import Item, build_pack
from kvorum.engine.quantised import is_quantised
from kvorum.engine.score import AnswerFormat, score_pack
from kvorum.engine.spread import is_spread
from kvorum.errors import first_line

log = logging.getLogger(__name__)


@contextmanager
def compiled(
    attachment: Attachment, items: Sequence[Item], answer_format: AnswerFormat, *, wanted: bool = True
) -> Iterator[None]:
    """Run the model's decoder layers compiled inside the block, and as they are where they cannot be.

    The first passes take up to a minute; what was compiled is kept on disk by PyTorch (TORCHINDUCTOR_CACHE_DIR) for
    later processes. Before it is trusted, some items are scored both ways and compared.
    """
    # The last one computes less, so it would have to be compiled on its own.
    layers = decoder_layers(attachment.model)[:-1] if wanted else []
    if reason := _why_not(attachment, layers):
        if wanted:
            log.info("the layers run as they are: %s", reason)
        yield
        return
    plain = _trial(attachment, items, answer_format)
    tolerance = 1e-3 if attachment.model.dtype == torch.float32 else 0.1
    before = {layer: layer.__dict__.get("forward") for layer in layers}
    _announce(type(layers[0]), torch.is_grad_enabled())
    try:
        try:
            for layer in layers:
                layer.forward = torch.compile(layer.forward, dynamic=True)
            trouble = _difference(plain, _trial(attachment, items, answer_format), tolerance)
        # What a compiler throws, or the lack of one; without it the same is computed, only more slowly.
        except (RuntimeError, ImportError, OSError) as error:
            trouble = f"{type(error).__name__}: {first_line(error)}"
        if trouble:
            log.warning("the decoder layer was not compiled and runs as it is, more slowly (%s)", trouble)
            _restore(before)
        yield
    finally:
        _restore(before)


def _why_not(attachment: Attachment, layers: Sequence[nn.Module]) -> str:
    """Why layers are not to be compiled; empty where they are."""
    if not layers:
        return "none found"
    if attachment.dropout:
        return "dropout is drawn for each question"
    if any(is_quantised(module) for module in layers[0].modules()):
        return "the base model is quantised"
    if is_spread(attachment.model):
        return "the base model is spread over devices"
    return "they are computed twice to keep less" if is_checkpointed(layers[0]) else ""


@functools.cache
def _announce(layer: type[nn.Module], learning: bool) -> None:
    """Once in a process for what is compiled once."""
    purpose = "for learning" if learning else "for scoring"
    log.info("compiling %s %s, up to a minute; later it comes from a cache", layer.__name__, purpose)


def _trial(attachment: Attachment, items: Sequence[Item], answer_format: AnswerFormat) -> list[Tensor]:
    """The items' log-probabilities, and the gradients of their sum where gradients are taken."""
    scores = score_pack(attachment, build_pack(items), answer_format=answer_format).log_probs
    found = [scores[scores.isfinite()]]
    if scores.requires_grad:
        found += torch.autograd.grad(found[0].sum(), list(attachment.stack.parameters()))
    return [x.detach().float() for x in found]


def _difference(plain: Sequence[Tensor], other: Sequence[Tensor], tolerance: float) -> str:
    """What is wrong with results; empty where nothing is."""
    for one, two in zip(plain, other, strict=True):
        if one.shape != two.shape or not (one - two).abs().max() <= tolerance * (1 + one.abs().max()):
            return "compiled, it gives other results"
    return ""


def _restore(before: Mapping[nn.Module, Any]) -> None:
    for layer, forward in before.items():
        if forward is None:
            layer.__dict__.pop("forward", None)
        else:
            layer.forward = forward
