"""Attention over a pack, as an attention implementation of transformers."""

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

from jaxtyping import Float
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel

from kvorum.adapters import AdapterStack, Attachment
from kvorum.engine.blocks import attend_in_blocks
from kvorum.engine.explicit import explicit_attention
from kvorum.engine.last_layer import only_where_read
from kvorum.engine.pack import Layout
from kvorum.engine.short import LONGEST, attend_short, head_places
from kvorum.errors import KvorumError

NAME = "kvorum_packed"
fused: Callable[..., Tensor] = nn.functional.scaled_dot_product_attention
"""PyTorch's attention, which whoever runs a model without values exchanges for what stands for it."""
# Under a name without "flash", and with no mask function registered, transformers builds no token-by-token mask.


def packed_attention(
    module: nn.Module,
    query: Float[Tensor, "1 head token dim"],
    key: Float[Tensor, "1 key_head token dim"],
    value: Float[Tensor, "1 key_head token value_dim"],
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    kvorum_layout: Layout | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Float[Tensor, " head"] | None = None,
    **others: Any,
) -> tuple[Float[Tensor, "1 token head value_dim"], None]:
    """Attention of each sequence of a pack over itself.

    Gathers the sequences to padded batches, calls PyTorch's scaled dot-product attention and gathers back, so that
    attention alone pays for padding. Models with logit soft-capping (Gemma 2) or attention sinks (gpt-oss) take a
    slower path, attention written out, since PyTorch's has neither. Raises `KvorumError` for what it cannot honour: a
    mask, dropout on the attention weights, a bias.
    """
    if kvorum_layout is None:
        raise KvorumError(
            f"{type(module).__name__} was called without the layout of a pack: this model does not hand "
            "keyword arguments on to its attention, so kvorum cannot run it"
        )
    for name in ("position_bias", "attention_bias", "head_mask"):
        if others.get(name) is not None:
            raise KvorumError(f"{type(module).__name__} asks for '{name}', which packed attention cannot honour")
    if attention_mask is not None or dropout:
        raise KvorumError("packed attention takes no attention mask and no dropout on the attention weights")
    if not getattr(module, "is_causal", True):
        raise KvorumError(f"{type(module).__name__} is not causal; kvorum runs decoders only")
    layout = kvorum_layout.beside(query)
    q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    mask = layout.mask(sliding_window)
    written_out = softcap is not None or s_aux is not None
    if query.device.type == "cpu" and query.shape[-1] == value.shape[-1] and not written_out:
        places = layout.places.get((query.shape[1], key.shape[1]))
        if places is None:
            return attend_in_blocks(q, k, v, layout, mask, scale).unsqueeze(0), None
        return attend_short(q, k, v, layout, places, mask, scale).unsqueeze(0), None
    place, shape = layout.gather.flatten(), layout.gather.shape
    q, k, v = (x.index_select(0, place).unflatten(0, shape).transpose(1, 2) for x in (q, k, v))
    if written_out:
        allowed = layout.allowed(sliding_window).unsqueeze(1) if mask is None else mask
        out = explicit_attention(q, k, v, allowed, scaling=scale, softcap=softcap, sinks=s_aux)
    else:
        grouped = q.shape[1] != k.shape[1]
        if grouped and mask is not None:
            # Fused attention on a GPU takes a mask, or query heads that share a key head, but not both.
            k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], dim=1) for x in (k, v))
            grouped = False
        out = fused(q, k, v, attn_mask=mask, is_causal=mask is None, scale=scale, enable_gqa=grouped)
    return out.transpose(1, 2).flatten(0, 1).index_select(0, layout.scatter).unsqueeze(0), None


AttentionInterface.register(NAME, packed_attention)


def prepared(layout: Layout, model: nn.Module) -> Layout:
    """The same layout with what all layers of a transformers model need made once."""
    if layout.places:
        return layout
    config: Any = cast(PreTrainedModel, model).config.get_text_config()
    windows = {None, getattr(config, "sliding_window", None)}
    masks = {window: mask for window in windows if (mask := layout.mask(window)) is not None}
    places = {}
    if layout.gather.device.type == "cpu" and layout.gather.shape[1] <= LONGEST:
        heads: int = config.num_attention_heads
        pair = (heads, getattr(config, "num_key_value_heads", None) or heads)
        places[pair] = head_places(layout, *pair)
    return dataclasses.replace(layout, masks=masks, places=places)


@contextmanager
def packed(model: PreTrainedModel) -> Iterator[None]:
    """Let a model attend over packs inside the block; afterwards it has the implementation that it had.

    Raises `KvorumError` where transformers cannot exchange the attention of this model.
    """
    # `_attn_implementation` is what transformers itself reads; there is no public getter.
    before: Any = model.config._attn_implementation
    model.set_attn_implementation(NAME)
    if model.config._attn_implementation != NAME:
        raise KvorumError(
            f"{type(model).__name__} computes attention by itself, not through transformers' AttentionInterface, so "
            "kvorum cannot run it"
        )
    try:
        yield
    finally:
        model.set_attn_implementation(before)


@contextmanager
def attached(model: PreTrainedModel, stack: AdapterStack, *, dropout: float = 0.0) -> Iterator[Attachment]:
    """A model with a stack on its targets and attention over packs, handed back as it came when the block ends."""
    with packed(model), Attachment(model, stack, dropout=dropout) as attachment, only_where_read(attachment):
        yield attachment
