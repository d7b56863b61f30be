"""A linear map whose weight is held in fewer bits, and made out of them whenever it is used.

The backward pass makes it again, rather than keep it: what is kept for all layers at once would be the whole model.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

Rows = Callable[[Sequence[Tensor], slice, torch.dtype], Float[Tensor, "row in_"]]
"""From the tensors that hold a weight: some of its rows, in a precision."""

NUMBERS_AT_ONCE = 2**24
"""Of so many numbers of a weight the rows are made at once; more only where a row is longer."""


def linear(
    x: Float[Tensor, "*token in_"],
    held: Sequence[Tensor],
    rows: Rows,
    out_features: int,
    bias: Float[Tensor, " out"] | None = None,
    *,
    at_once: int | None = None,
) -> Float[Tensor, "*token out"]:
    """W x + bias, where `rows` makes W of the tensors that hold it, `at_once` numbers at a time."""
    found: Any = _Linear.apply(x, rows, _parts(out_features, x.shape[-1], at_once or NUMBERS_AT_ONCE), *held)
    return found if bias is None else found + bias.to(found.dtype)


class _Linear(torch.autograd.Function):
    """What holds the weight is saved as autograd saves weights, so that a layer that is computed twice lets go of it.

    `rows` must not hold it, or the input, by itself.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: Rows, parts: list[slice], *held: Tensor) -> Tensor:
        ctx.rows, ctx.parts = rows, parts
        ctx.save_for_backward(*held)
        if len(ctx.parts) == 1:
            return x @ rows(held, ctx.parts[0], x.dtype).T
        out = x.new_empty(*x.shape[:-1], parts[-1].stop)
        for part in ctx.parts:
            out[..., part] = x @ rows(held, part, x.dtype).T
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,), held = gradients, ctx.saved_tensors
        first, *others = ctx.parts
        for_x = gradient[..., first] @ ctx.rows(held, first, gradient.dtype)
        if others:
            # As a product of the whole weight adds up, which rounds once.
            for_x = for_x.float()
            for part in others:
                for_x += gradient[..., part] @ ctx.rows(held, part, gradient.dtype)
        return for_x.to(gradient.dtype), None, None, *[None] * len(held)


def _parts(out_features: int, in_features: int, numbers: int) -> list[slice]:
    at_once = max(1, numbers // in_features)
    return [slice(start, min(start + at_once, out_features)) for start in range(0, out_features, at_once)]
