"""Where the members start."""

import math
from collections.abc import Sequence

import torch

from kvorum.adapters.seeds import Stream, generator_seed
from kvorum.adapters.stack import AdapterStack
from kvorum.adapters.targets import Target


def kaiming_uniform_stack(
    targets: Sequence[Target], *, members: Sequence[int], rank: int, alpha: float, seed: int, shared: bool = False
) -> AdapterStack:
    """A stack whose A is Kaiming-uniform with a = sqrt 5, that is U(-1/sqrt(in), 1/sqrt(in)), and whose B is zero.

    PEFT's default start. A member's numbers depend on the seed, its own number and the target's place alone, so it
    starts alike in an ensemble of any size. With `shared` all start as member 0 does.
    """
    a: dict[str, torch.Tensor] = {}
    b: dict[str, torch.Tensor] = {}
    for place, target in enumerate(targets):
        bound = 1 / math.sqrt(target.in_features)
        drawn = torch.empty(len(members), rank, target.in_features)
        for i, member in enumerate(members):
            whose = 0 if shared else member
            generator = torch.Generator().manual_seed(generator_seed(seed, Stream.INITIALISATION, whose, place))
            drawn[i].uniform_(-bound, bound, generator=generator)
        a[target.name] = drawn
        b[target.name] = torch.zeros(len(members), target.out_features, rank)
    return AdapterStack(a=a, b=b, alpha=alpha, members=tuple(members))
