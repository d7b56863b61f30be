"""What the adapters of all members add to the output of one target, for the tokens of a pack.

Two ways to the same numbers: `by_member`, small products one member after another, and `concatenated`, few large ones
over all members at once, which suit a GPU.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

# With more rows than this in the A of all members together, most of what `concatenated` computes is thrown away.
CONCATENATED_ROWS = 256


def low_rank(
    x: Float[Tensor, "token in_"],
    a: Float[Tensor, "member rank in_"],
    b: Float[Tensor, "member out rank"],
    spans: Int[Tensor, "member 2"],
    owner: Int[Tensor, " token"],
    scaling: float,
) -> Float[Tensor, "token out"]:
    """scaling B A x, for every token with the adapter of its member.

    `spans` says where each member's tokens begin and end, and stays on the CPU; `owner` is the member of each token.
    """
    if x.device.type == "cpu" or a.shape[0] * a.shape[1] > CONCATENATED_ROWS:
        return by_member(x.to(a.dtype), a, b, spans, scaling)
    return concatenated(x, a, b, owner, scaling)


def concatenated(
    x: Float[Tensor, "token in_"],
    a: Float[Tensor, "member rank in_"],
    b: Float[Tensor, "member out rank"],
    owner: Int[Tensor, " token"],
    scaling: float,
) -> Float[Tensor, "token out"]:
    """All A over one another in one product, other members' columns set to zero, all B beside one another in one.

    In the adapters' precision; x is kept for the backward pass as it came.
    """
    return _Concatenated.apply(x, a, b, owner, scaling)


class _Concatenated(torch.autograd.Function):
    """Its backward pass is its own, since zeros meet what a diverged member left in its tokens: 0 x NaN is NaN.

    What is not finite is taken out of the products over tokens, and put back into the gradients of its own member.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, a: Tensor, b: Tensor, owner: Tensor, scaling: float) -> Tensor:
        down = (_finite(x.to(a.dtype)) @ a.flatten(0, 1).T).masked_fill(_others(owner, a), 0.0)
        ctx.save_for_backward(x, a, b, owner, down)
        ctx.scaling = scaling
        return (down * scaling) @ b.transpose(1, 2).flatten(0, 1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, a, b, owner, down = ctx.saved_tensors
        gradient = _finite(gradients[0])
        lost = ~gradients[0].isfinite().all(1)
        back = (gradient @ b.transpose(1, 2).flatten(0, 1).T * ctx.scaling).masked_fill(_others(owner, a), 0.0)
        for_a = (back.T @ _finite(x.to(a.dtype))).view_as(a)
        for_b = (gradient.T @ down * ctx.scaling).unflatten(1, a.shape[:2]).transpose(0, 1)
        diverged = torch.zeros(len(a), device=x.device).index_add(0, owner, lost.float()).bool()[:, None, None]
        return (
            (back @ a.flatten(0, 1)).masked_fill(lost[:, None], torch.nan).to(x.dtype),
            for_a.masked_fill(diverged, torch.nan),
            for_b.masked_fill(diverged, torch.nan),
            None,
            None,
        )


def _finite(x: Tensor) -> Tensor:
    return x.nan_to_num(0.0, 0.0, 0.0)


def _others(owner: Tensor, a: Tensor) -> Tensor:
    members, rank, _ = a.shape
    return owner.unsqueeze(1) != torch.arange(members, device=owner.device).repeat_interleave(rank)


def by_member(
    x: Float[Tensor, "token in_"],
    a: Float[Tensor, "member rank in_"],
    b: Float[Tensor, "member out rank"],
    spans: Int[Tensor, "member 2"],
    scaling: float,
) -> Float[Tensor, "token out"]:
    """Each member's tokens through its own A and B.

    As one operator, so that a compiled layer need not be compiled again for other numbers of tokens.
    """
    return _by_member(x, a, b, spans, scaling)[0]


# Operators declare their shapes to PyTorch by plain types; the axes are those of `by_member`.
@torch.library.custom_op("kvorum::by_member", mutates_args=())
def _by_member(x: Tensor, a: Tensor, b: Tensor, spans: Tensor, scaling: float) -> tuple[Tensor, Tensor]:
    """The result, and A x, which its backward pass needs."""
    out, down = x.new_empty(len(x), b.shape[1]), x.new_empty(len(x), a.shape[1])
    for member, (start, stop) in enumerate(spans.tolist()):
        if stop > start:
            torch.mm(x[start:stop], a[member].T, out=down[start:stop])
            part = out[start:stop]
            torch.addmm(part, down[start:stop], b[member].T, beta=0, alpha=scaling, out=part)
    return out, down


@_by_member.register_fake
def _(x: Tensor, a: Tensor, b: Tensor, spans: Tensor, scaling: float) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape[0], b.shape[1]), x.new_empty(x.shape[0], a.shape[1])


@torch.library.custom_op("kvorum::by_member_backward", mutates_args=())
def _by_member_backward(
    gradient: Tensor, x: Tensor, down: Tensor, a: Tensor, b: Tensor, spans: Tensor, scaling: float
) -> tuple[Tensor, Tensor, Tensor]:
    for_x, for_a, for_b = torch.empty_like(x), torch.zeros_like(a), torch.zeros_like(b)
    for member, (start, stop) in enumerate(spans.tolist()):
        if stop > start:
            part = gradient[start:stop]
            back = torch.mm(part, b[member]).mul_(scaling)
            torch.mm(back, a[member], out=for_x[start:stop])
            torch.mm(back.T, x[start:stop], out=for_a[member])
            torch.addmm(for_b[member], part.T, down[start:stop], beta=0, alpha=scaling, out=for_b[member])
    return for_x, for_a, for_b


@_by_member_backward.register_fake
def _(
    gradient: Tensor, x: Tensor, down: Tensor, a: Tensor, b: Tensor, spans: Tensor, scaling: float
) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(x), torch.empty_like(a), torch.empty_like(b)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, a, b, spans, ctx.scaling = inputs
    ctx.save_for_backward(x, output[1], a, b, spans)


def _backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    x, down, a, b, spans = ctx.saved_tensors
    found = _by_member_backward(gradient.contiguous(), x, down, a, b, spans, ctx.scaling)
    return (*found, None, None)


_by_member.register_autograd(_backward, setup_context=_setup)
