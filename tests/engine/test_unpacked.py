"""A linear map whose weight is made whenever it is used."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kvorum.engine import unpacked


def halves(held: Sequence[Tensor], part: slice, dtype: torch.dtype) -> Tensor:
    return held[0][part].to(dtype) / 2


def test_it_is_the_linear_map_in_parts_too(monkeypatch) -> None:
    weight, bias = torch.randint(-9, 9, (7, 5), dtype=torch.int8), torch.randn(7)
    found = []
    for at_once in (1000, 10, 1):
        monkeypatch.setattr(unpacked, "NUMBERS_AT_ONCE", at_once)
        x = torch.arange(30.0).view(2, 3, 5).requires_grad_()
        out = unpacked.linear(x, [weight], halves, 7, bias)
        out.square().sum().backward()
        found.append((out, x.grad))
    x = torch.arange(30.0).view(2, 3, 5).requires_grad_()
    out = nn.functional.linear(x, weight.float() / 2, bias)
    out.square().sum().backward()
    for one in found:
        torch.testing.assert_close(one, (out, x.grad))


def test_parts_of_a_gradient_are_added_up_in_full_precision(monkeypatch) -> None:
    weight = torch.full((1000, 1), 2, dtype=torch.int8)
    monkeypatch.setattr(unpacked, "NUMBERS_AT_ONCE", 1)
    x = torch.ones(1, 1, dtype=torch.bfloat16, requires_grad=True)
    unpacked.linear(x, [weight], halves, 1000).sum().backward()
    assert x.grad is not None and float(x.grad) == 1000


def test_neither_the_weight_in_full_nor_the_input_is_kept() -> None:
    kept: list[Tensor] = []

    def keep(one: Tensor) -> Tensor:
        kept.append(one)
        return one

    weight, x = torch.ones(7, 5, dtype=torch.int8), torch.ones(3, 5, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda one: one):
        unpacked.linear(x, [weight], halves, 7)
    assert [one is weight for one in kept] == [True]
