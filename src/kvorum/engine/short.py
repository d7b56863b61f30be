"""Attention over a pack of short sequences on a CPU, written out as batched products.

For sequences of some dozens of tokens PyTorch's fused attention spends most of its time between tiny products. Here the
query heads that share a key head, and all sequences of alike lengths, go into one product each. The weights are kept
for the backward pass, so memory grows with length squared.

As one operator with a backward pass of its own, so that a compiled layer need not be compiled again for every number
of sequences.
"""

from typing import Any

import torch
from torch import Tensor

from kvorum.engine.blocks import blocks
from kvorum.engine.pack import HeadPlaces, Layout

# The longest sequence that this is for.
LONGEST = 256


def head_places(layout: Layout, heads: int, key_heads: int) -> HeadPlaces:
    """Where a layout's tokens lie for a number of heads."""
    length = layout.gather.shape[1]
    own = layout.scatter[layout.gather] == torch.arange(layout.gather.numel()).view_as(layout.gather)
    shared = ~own & (torch.arange(length) < layout.sizes.unsqueeze(1))
    found = []
    for count in (heads, key_heads):
        take, unread = [], []
        place = torch.empty(*layout.gather.shape, count, dtype=torch.long)
        for block in blocks(layout.sizes):
            rows = layout.gather[block.rows, : block.length, None] * count + torch.arange(count)
            span = block.span(count)
            here = torch.arange(span.start, span.stop).view(block.count, count, block.length).transpose(1, 2)
            place[block.rows, : block.length] = here
            take.append(rows.transpose(1, 2).flatten())
            unread.append(here[~own[block.rows, : block.length]].flatten())
        back = place.flatten(0, 1)[layout.scatter].flatten()
        found.append((torch.cat(take), back, torch.cat(unread), place[shared].flatten()))
    (take, back, unread, _), (take_key, back_key, _, places) = found
    rows = (layout.gather[shared].unsqueeze(1) * key_heads + torch.arange(key_heads)).flatten()
    counts = torch.tensor([len(unread), len(places)])
    return HeadPlaces(take, take_key, back, back_key, torch.cat([counts, unread, places, rows]))


# Operators declare their shapes to PyTorch by plain types; here q is "token head dim", k and v "token key_head dim",
# sizes " sequence", mask "sequence 1 length length", the rest as in `HeadPlaces`.


def attend_short(
    q: Tensor, k: Tensor, v: Tensor, layout: Layout, places: HeadPlaces, mask: Tensor | None, scale: float
) -> Tensor:
    """Scaled dot-product attention of each sequence over itself, "token head dim"."""
    index = (places.take, places.take_key, places.back, places.back_key, places.besides)
    return _attend(q, k, v, *index, layout.sizes, mask, layout.gather.shape[1], scale)[0]


@torch.library.custom_op("kvorum::attend_short", mutates_args=())
def _attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    take: Tensor,
    take_key: Tensor,
    back: Tensor,
    back_key: Tensor,
    besides: Tensor,
    sizes: Tensor,
    mask: Tensor | None,
    length: int,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The output, and for the backward pass queries, keys, values and weights, head by head, block after block."""
    (_, heads, dim), key_heads = q.shape, k.shape[1]
    queries = q.reshape(-1, dim).index_select(0, take)
    keys, values = (x.reshape(-1, dim).index_select(0, take_key) for x in (k, v))
    weights = q.new_empty(len(take) * length)
    out = torch.empty_like(queries)
    for block in blocks(sizes):
        wide, narrow = (-1, block.length * heads // key_heads, dim), (-1, block.length, dim)
        many, few = block.span(heads), block.span(key_heads)
        one = weights[block.pairs(heads)].view(block.count * key_heads, -1, block.length)
        if mask is None:
            bias = q.new_full((block.length, block.length), -torch.inf).triu_(1).repeat(heads // key_heads, 1)
        else:
            allowed = mask[block.rows, :, : block.length, : block.length]
            bias = q.new_zeros(allowed.shape).masked_fill_(~allowed, -torch.inf)
            bias = bias.expand(-1, heads, -1, -1).reshape(one.shape)
        torch.baddbmm(bias, queries[many].view(wide), keys[few].view(narrow).mT, alpha=scale, out=one)
        torch.softmax(one, -1, out=one)
        torch.bmm(one, values[few].view(narrow), out=out[many].view(wide))
    return out.index_select(0, back).view(q.shape), queries, keys, values, weights


@_attend.register_fake
def _(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    take: Tensor,
    take_key: Tensor,
    back: Tensor,
    back_key: Tensor,
    besides: Tensor,
    sizes: Tensor,
    mask: Tensor | None,
    length: int,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    places, dim = take.shape[0], q.shape[2]
    keys, values = (q.new_empty(take_key.shape[0], dim) for _ in "kv")
    return q.new_empty(q.shape), q.new_empty(places, dim), keys, values, q.new_empty(places * length)


@torch.library.custom_op("kvorum::attend_short_backward", mutates_args=())
def _attend_backward(
    gradient: Tensor,
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    weights: Tensor,
    take: Tensor,
    take_key: Tensor,
    back: Tensor,
    back_key: Tensor,
    besides: Tensor,
    sizes: Tensor,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    tokens, heads, dim = gradient.shape
    key_heads = len(take_key) * heads // len(take)
    unread, further = besides[:2].tolist()
    unread, places, rows = besides[2:].split([unread, further, further])
    whole = gradient.reshape(-1, dim).index_select(0, take)
    # Nothing is read at padding, nor at any but the first place of a token that sequences share.
    whole.index_fill_(0, unread, 0.0)
    for_q, for_k, for_v = torch.empty_like(queries), torch.empty_like(keys), torch.empty_like(values)
    for block in blocks(sizes):
        wide, narrow = (-1, block.length * heads // key_heads, dim), (-1, block.length, dim)
        many, few = block.span(heads), block.span(key_heads)
        one, part = weights[block.pairs(heads)].view(block.count * key_heads, -1, block.length), whole[many].view(wide)
        torch.bmm(one.mT, part, out=for_v[few].view(narrow))
        inner = torch.bmm(part, values[few].view(narrow).mT)
        inner = torch.ops.aten._softmax_backward_data(inner, one, -1, one.dtype).mul_(scale)
        torch.bmm(inner, keys[few].view(narrow), out=for_q[many].view(wide))
        torch.bmm(inner.mT, queries[many].view(wide), out=for_k[few].view(narrow))
    found = [for_q.index_select(0, back), for_k.index_select(0, back_key), for_v.index_select(0, back_key)]
    for one, flat in zip(found[1:], (for_k, for_v), strict=True):
        one.index_add_(0, rows, flat.index_select(0, places))
    of_keys = (tokens, key_heads, dim)
    return found[0].view(gradient.shape), found[1].view(of_keys), found[2].view(of_keys)


@_attend_backward.register_fake
def _(
    gradient: Tensor,
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    weights: Tensor,
    take: Tensor,
    take_key: Tensor,
    back: Tensor,
    back_key: Tensor,
    besides: Tensor,
    sizes: Tensor,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    tokens, _, dim = gradient.shape
    of_keys = (tokens, back_key.shape[0] // tokens, dim)
    return gradient.new_empty(gradient.shape), gradient.new_empty(of_keys), gradient.new_empty(of_keys)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    _, _, _, *index, sizes, _, _, ctx.scale = inputs
    ctx.save_for_backward(*output[1:], *index, sizes)


def _backward(ctx: Any, gradient: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
    return (*_attend_backward(gradient, *ctx.saved_tensors, ctx.scale), *[None] * 9)


_attend.register_autograd(_backward, setup_context=_setup)
