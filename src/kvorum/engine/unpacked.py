"""A linear map whose weight is held in fewer bits, and made out of them whenever it is used.

The backward pass makes it again, rather than keep it: what is kept for all layers at once would be the whole model.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

Rows = Callable[[slice, torch.dtype], Float[Tensor, "row in_"]]
"""Some rows of a weight, in a precision."""

NUMBERS_AT_ONCE = 2**26
"""Of so many numbers of a weight the rows are made at once; more only where a row is longer."""


def linear(
    x: Float[Tensor, "*token in_"], rows: Rows, out_features: int, bias: Float[Tensor, " out"] | None = None
) -> Float[Tensor, "*token out"]:
    """W x + bias, where `rows` makes W."""
    found: Tensor = _Linear.apply(x, rows, out_features)  # pyright: ignore[reportAssignmentType]
    return found if bias is None else found + bias.to(found.dtype)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: Rows, out_features: int) -> Tensor:
        ctx.rows, ctx.parts = rows, _parts(out_features, x.shape[-1])
        if len(ctx.parts) == 1:
            return x @ rows(ctx.parts[0], x.dtype).T
        out = x.new_empty(*x.shape[:-1], out_features)
        for part in ctx.parts:
            out[..., part] = x @ rows(part, x.dtype).T
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = gradients
        first, *others = ctx.parts
        for_x = gradient[..., first] @ ctx.rows(first, gradient.dtype)
        for part in others:
            for_x += gradient[..., part] @ ctx.rows(part, gradient.dtype)
        return for_x, None, None


def _parts(out_features: int, in_features: int) -> list[slice]:
    at_once = max(1, NUMBERS_AT_ONCE // in_features)
    return [slice(start, min(start + at_once, out_features)) for start in range(0, out_features, at_once)]
