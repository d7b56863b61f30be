"""The A and B of all members, stacked, and their file."""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kvorum.adapters.places import device_of
from kvorum.adapters.tensors import load_tensors, save_tensors
from kvorum.errors import KvorumError, nearest

FORMAT = "kvorum adapter stack 1"


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdapterStack:
    """The LoRA adapters of an ensemble: member m adds (alpha / rank) B[m] A[m] to the weight of every target.

    Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", arXiv 2106.09685.
    """

    a: Mapping[str, Float[Tensor, "member rank in_"]]
    """A by the target's name in the base model."""
    b: Mapping[str, Float[Tensor, "member out rank"]]
    """B by the target's name in the base model."""
    alpha: float
    members: tuple[int, ...]
    """The members' numbers: what their seeds come from, and what reports call them."""
    diverged: Mapping[int, str] = dataclasses.field(default_factory=dict)
    """Members frozen because their loss or gradient was no longer finite, with where it happened."""

    def __post_init__(self) -> None:
        if self.a.keys() != self.b.keys() or not self.a:
            raise KvorumError("an adapter stack needs A and B of the same, at least one, targets")
        ranks = set()
        for target in self.a:
            a, b = self.a[target], self.b[target]
            if a.ndim != 3 or b.ndim != 3 or a.shape[1] != b.shape[2]:
                raise KvorumError(f"{target}: A {tuple(a.shape)} and B {tuple(b.shape)} are no adapters of one rank")
            if a.shape[0] != len(self.members) or b.shape[0] != len(self.members):
                raise KvorumError(f"{target}: {a.shape[0]} A and {b.shape[0]} B for {len(self.members)} members")
            ranks.add(a.shape[1])
        if len(ranks) > 1 or 0 in ranks:
            raise KvorumError(f"targets of different ranks, or of rank 0, in one stack: {sorted(ranks)}")
        if not self.members or len(set(self.members)) < len(self.members) or min(self.members) < 0:
            raise KvorumError(f"members are numbered {self.members}; expected at least one, each its own number")
        if not (math.isfinite(self.alpha) and self.alpha > 0):
            raise KvorumError(f"alpha is {self.alpha}; it must be positive and finite")
        if not self.diverged.keys() <= set(self.members):
            raise KvorumError(f"members {sorted(self.diverged)} are said to have diverged, but are not all there")

    @property
    def rank(self) -> int:
        """The inner dimension of B A."""
        return next(iter(self.a.values())).shape[1]

    @property
    def scaling(self) -> float:
        """The factor alpha / rank on B A."""
        return self.alpha / self.rank

    @property
    def active(self) -> tuple[int, ...]:
        """Positions along the member axis of those that have not diverged."""
        return tuple(i for i, member in enumerate(self.members) if member not in self.diverged)

    @property
    def untouched(self) -> bool:
        """Whether every B is zero, so that every member still is the base model."""
        return not any(bool(b.any()) for b in self.b.values())

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """`TARGET.lora_A` and `TARGET.lora_B` of every target, in a fixed order."""
        for target in self.a:
            yield f"{target}.lora_A", self.a[target]
            yield f"{target}.lora_B", self.b[target]

    def parameters(self) -> Iterator[Tensor]:
        """A and B of every target, in the same order."""
        for _, parameter in self.named_parameters():
            yield parameter

    def parameters_per_member(self) -> int:
        """How many numbers one member has learned."""
        return sum(p[0].numel() for p in self.parameters())

    def select(self, positions: Sequence[int]) -> "AdapterStack":
        """The stack of some members, by their positions along the member axis; tensors are copied."""
        index = list(positions)
        members = tuple(self.members[i] for i in index)
        return dataclasses.replace(
            self,
            a={k: v[index].detach().clone() for k, v in self.a.items()},
            b={k: v[index].detach().clone() for k, v in self.b.items()},
            members=members,
            diverged={m: why for m, why in self.diverged.items() if m in members},
        )

    @classmethod
    def joined(cls, stacks: "Sequence[AdapterStack]") -> "AdapterStack":
        """The members of several stacks of one shape in one; raises `KvorumError` where a member is there twice."""
        first = stacks[0]
        return dataclasses.replace(
            first,
            a={k: torch.cat([stack.a[k] for stack in stacks]).detach() for k in first.a},
            b={k: torch.cat([stack.b[k] for stack in stacks]).detach() for k in first.b},
            members=tuple(member for stack in stacks for member in stack.members),
            diverged={member: why for stack in stacks for member, why in stack.diverged.items()},
        )

    def to(self, device: torch.device | str) -> "AdapterStack":
        """The same stack with its tensors on another device, off any graph."""
        return dataclasses.replace(
            self,
            a={k: v.detach().to(device) for k, v in self.a.items()},
            b={k: v.detach().to(device) for k, v in self.b.items()},
        )

    def beside(self, model: nn.Module) -> "AdapterStack":
        """The same stack with each target's tensors where that target computes, off any graph.

        Raises `KvorumError` where the model has no such target.
        """
        modules = dict(model.named_modules())
        for name in self.a:
            if name not in modules:
                raise KvorumError(f"the base model has no module '{name}'{nearest(name, modules)}")
        return dataclasses.replace(
            self,
            a={k: v.detach().to(device_of(modules[k])) for k, v in self.a.items()},
            b={k: v.detach().to(device_of(modules[k])) for k, v in self.b.items()},
        )

    def save(self, path: str | Path, **facts: Any) -> None:
        """Write a safetensors file: `TARGET.lora_A` and `TARGET.lora_B`, the rest in its header."""
        header = {
            "format": FORMAT,
            "alpha": self.alpha,
            "members": list(self.members),
            "targets": list(self.a),
            "diverged": {str(member): why for member, why in self.diverged.items()},
            "facts": facts,
        }
        save_tensors(dict(self.named_parameters()), path, header)

    @classmethod
    def load(cls, path: str | Path) -> "AdapterStack":
        """Read what `save` wrote.

        Raises `KvorumError` for a file that is missing, damaged or something else.
        """
        tensors, header = load_tensors(path)
        try:
            if header["format"] != FORMAT:
                raise KvorumError(f"is '{header['format']}', expected '{FORMAT}'")
            # In the order of the model, which the file's own order of names is not.
            targets = [str(target) for target in header["targets"]]
            if len(set(targets)) < len(targets) or tensors.keys() != {
                f"{t}.lora_{side}" for t in targets for side in "AB"
            }:
                raise KvorumError("its adapters are not those that its header names")
            for name, tensor in tensors.items():
                if tensor.dtype != torch.float32:
                    raise KvorumError(f"{name} is of type {tensor.dtype}, expected torch.float32")
            return cls(
                a={target: tensors[f"{target}.lora_A"] for target in targets},
                b={target: tensors[f"{target}.lora_B"] for target in targets},
                alpha=float(header["alpha"]),
                members=tuple(int(member) for member in header["members"]),
                diverged={int(member): str(why) for member, why in header["diverged"].items()},
            )
        except (LookupError, ValueError, TypeError, AttributeError, OverflowError) as error:
            what = error if isinstance(error, KvorumError) else f"its header is not one that kvorum wrote: {error!r}"
            raise KvorumError(f"{path}: is no adapter stack that kvorum wrote, or is damaged ({what})") from error
