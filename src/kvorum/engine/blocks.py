"""Attention over a pack on a CPU: sequences of alike lengths together, so that little is computed on padding.

As one operator with a backward pass of its own, so that a compiled layer need not be compiled again for every number
of sequences, and gathers need no scattered additions to go back through.
"""

import dataclasses
from collections.abc import Iterator

import torch
from torch import Tensor

from kvorum.engine.pack import Layout

# A block holds sequences at least this fraction as long as its longest one.
ALIKE = 0.8

# Operators declare their shapes to PyTorch by plain types; here q is "token head dim", k and v "token key_head dim",
# gather "sequence length", scatter " token", sizes " sequence", mask "sequence 1 length length".


def attend_in_blocks(q: Tensor, k: Tensor, v: Tensor, layout: Layout, mask: Tensor | None, scale: float) -> Tensor:
    """Scaled dot-product attention of each sequence over itself, "token head dim"."""
    return _attend(q, k, v, layout.gather, layout.scatter, layout.sizes, mask, scale)[0]


@torch.library.custom_op("kvorum::attend", mutates_args=())
def _attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    gather: Tensor,
    scatter: Tensor,
    sizes: Tensor,
    mask: Tensor | None,
    scale: float,
) -> tuple[Tensor, Tensor]:
    """The attention's output, and the logarithm of its softmax's denominator at every place."""
    (sequences, length), (_, heads, dim) = gather.shape, q.shape
    out = q.new_zeros(sequences, length, heads, dim)
    logsumexp = q.new_zeros(sequences, length, heads, dtype=_accumulated(q))
    for block in blocks(sizes):
        rows, size = block.rows, block.length
        places = gather[rows, :size].flatten()
        one, total = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            *(_batch(x, places, size) for x in (q, k, v)),
            0.0,
            mask is None,
            attn_mask=_bias(mask, rows, size, q),
            scale=scale,
        )
        out[rows, :size] = one.transpose(1, 2)
        logsumexp[rows, :size] = total.transpose(1, 2)
    return out.flatten(0, 1).index_select(0, scatter), logsumexp


@_attend.register_fake
def _(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    gather: Tensor,
    scatter: Tensor,
    sizes: Tensor,
    mask: Tensor | None,
    scale: float,
) -> tuple[Tensor, Tensor]:
    return q.new_empty(q.shape), q.new_empty(*gather.shape, q.shape[1], dtype=_accumulated(q))


@torch.library.custom_op("kvorum::attend_backward", mutates_args=())
def _attend_backward(
    gradient: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    logsumexp: Tensor,
    gather: Tensor,
    scatter: Tensor,
    sizes: Tensor,
    mask: Tensor | None,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    sequences, length = gather.shape
    # Zero at padding, and at all but the first place of a token that is shared: nothing is read there.
    padded = gradient.new_zeros(sequences * length, *gradient.shape[1:]).index_copy_(0, scatter, gradient)
    padded = padded.unflatten(0, (sequences, length))
    parts = [x.new_zeros(sequences, length, *x.shape[1:]) for x in (q, k, v)]
    for block in blocks(sizes):
        rows, size = block.rows, block.length
        places = gather[rows, :size].flatten()
        found = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
            padded[rows, :size].transpose(1, 2),
            *(_batch(x, places, size) for x in (q, k, v, out)),
            logsumexp[rows, :size].transpose(1, 2),
            0.0,
            mask is None,
            attn_mask=_bias(mask, rows, size, q),
            scale=scale,
        )
        for part, one in zip(parts, found, strict=True):
            part[rows, :size] = one.transpose(1, 2)
    flat = [part.flatten(0, 1) for part in parts]
    whole = [part.index_select(0, scatter) for part in flat]
    # What sequences share has its key and value read at each of its places.
    padding = torch.arange(length) >= sizes.unsqueeze(1)
    others = (scatter[gather].flatten() != torch.arange(gather.numel())) & ~padding.flatten()
    if (places := others.nonzero()[:, 0]).numel():
        tokens = gather.flatten()[places]
        for one, part in zip(whole[1:], flat[1:], strict=True):
            one.index_add_(0, tokens, part.index_select(0, places))
    return whole[0], whole[1], whole[2]


@_attend_backward.register_fake
def _(
    gradient: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    logsumexp: Tensor,
    gather: Tensor,
    scatter: Tensor,
    sizes: Tensor,
    mask: Tensor | None,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    return q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape)


def _setup(ctx: torch.autograd.function.FunctionCtx, inputs: tuple, output: tuple[Tensor, Tensor]) -> None:
    *tensors, ctx.scale = inputs  # pyright: ignore[reportAttributeAccessIssue]
    ctx.save_for_backward(*tensors, *output)


def _backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    q, k, v, gather, scatter, sizes, mask, out, logsumexp = ctx.saved_tensors  # pyright: ignore
    found = _attend_backward(
        gradient,
        q,
        k,
        v,
        out,
        logsumexp,
        gather,
        scatter,
        sizes,
        mask,
        ctx.scale,  # pyright: ignore
    )
    return (*found, *[None] * 5)


_attend.register_autograd(_backward, setup_context=_setup)


def _accumulated(x: Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32


@dataclasses.dataclass(frozen=True)
class Block:
    """Sequences that are computed together, padded to the longest of them."""

    rows: slice
    """Of the layout."""
    length: int
    start: int
    """How many padded places the blocks before it have,"""
    pairs_start: int
    """and how many pairs of places of one sequence."""

    @property
    def count(self) -> int:
        """How many sequences."""
        return self.rows.stop - self.rows.start

    def span(self, heads: int) -> slice:
        """Its rows where all blocks lie one after the other, a row a place and head."""
        return slice(self.start * heads, (self.start + self.count * self.length) * heads)

    def pairs(self, heads: int) -> slice:
        """The same for pairs of places."""
        return slice(self.pairs_start * heads, (self.pairs_start + self.count * self.length**2) * heads)


def blocks(sizes: Tensor) -> Iterator[Block]:
    """From the longest sequences down."""
    lengths = sizes.tolist()
    stop, start, pairs = len(lengths), 0, 0
    while stop:
        first = stop - 1
        while first and lengths[first - 1] >= ALIKE * lengths[stop - 1]:
            first -= 1
        block = Block(slice(first, stop), lengths[stop - 1], start, pairs)
        yield block
        stop, start, pairs = first, start + block.count * block.length, pairs + block.count * block.length**2


def _batch(x: Tensor, places: Tensor, size: int) -> Tensor:
    """Tokens to "sequence head length dim"."""
    return x.index_select(0, places).unflatten(0, (-1, size)).transpose(1, 2)


def _bias(mask: Tensor | None, rows: slice, size: int, like: Tensor) -> Tensor | None:
    if mask is None:
        return None
    allowed = mask[rows, :, :size, :size]
    return like.new_zeros(allowed.shape).masked_fill_(~allowed, -torch.inf)
