"""Priors: the penalty on a member's adapter that is added to its mean loss over a batch."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from kvorum.adapters import AdapterStack

Prior = Callable[[AdapterStack], Float[Tensor, " member"]]
"""From a stack to a number a member, before its weight l2."""


def product(stack: AdapterStack) -> Float[Tensor, " member"]:
    """Sum over the targets of ||B A||_F^2: a Gaussian on the product, without alpha / rank.

    ||B A||_F^2 = trace((B^T B)(A A^T)), so that the out x in product is never formed.
    Balabanov and Linander, "Uncertainty quantification in fine-tuned LLMs using LoRA ensembles", arXiv 2402.12264.
    """
    terms = []
    for target in stack.a:
        a, b = stack.a[target], stack.b[target]
        terms.append(((b.mT @ b) * (a @ a.mT)).sum((-2, -1)))
    return _summed(terms)


def factors(stack: AdapterStack) -> Float[Tensor, " member"]:
    """Sum over the targets of ||A||_F^2 + ||B||_F^2: a Gaussian on each factor."""
    return _summed([p.square().sum((-2, -1)) for p in stack.parameters()])


def none(stack: AdapterStack) -> Float[Tensor, " member"]:
    """No prior: zero."""
    first = next(stack.parameters())
    return first.new_zeros(first.shape[0])


def _summed(terms: list[Tensor]) -> Tensor:
    """On the device of the first: targets of a model may lie on several."""
    return torch.stack([term.to(terms[0].device) for term in terms]).sum(0)


PRIORS: dict[str, Prior] = {"product": product, "factors": factors, "none": none}
