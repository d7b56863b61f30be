"""A stack onto a model, and off it again."""

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kvorum.adapters.stack import AdapterStack
from kvorum.errors import KvorumError, nearest


@dataclasses.dataclass(frozen=True)
class Route:
    """Which tokens of a pass go through which member's adapters."""

    positions: tuple[int, ...]
    """Positions along the stack's member axis, in the order in which their tokens lie."""
    tokens: tuple[int, ...]
    """How many tokens each of them has."""
    dropout_seeds: tuple[tuple[int, int], ...] | None = None
    """For dropout: a seed and a number of tokens a question, in the order of the tokens."""


class Attachment:
    """A stack attached to a model while a `with` block runs.

    The targets are wrapped, every parameter of the base is frozen and the model is in evaluation mode, so that no
    dropout but the adapters' own acts. Afterwards the model is as it was: modules, `requires_grad` and mode.
    A forward pass needs a `Route` (see `routed`); without one the base model's own output comes back.
    """

    def __init__(self, model: nn.Module, stack: AdapterStack, *, dropout: float = 0.0) -> None:
        self.model = model
        self.stack = stack
        self.dropout = dropout
        self.route: Route | None = None
        self._wrapped: dict[str, nn.Module] = {}

    def __enter__(self) -> "Attachment":
        modules = dict(self.model.named_modules())
        for target in self.stack.a:
            if target not in modules:
                raise KvorumError(f"the base model has no module '{target}'{nearest(target, modules)}")
        self._training = {module: module.training for module in self.model.modules()}
        self._frozen = [p for p in self.model.parameters() if p.requires_grad]
        self.model.eval()
        for parameter in self._frozen:
            parameter.requires_grad_(False)
        for place, target in enumerate(self.stack.a):
            self._wrapped[target] = modules[target]
            _replace(self.model, target, LoRALayer(modules[target], self, target, place))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for target, module in self._wrapped.items():
            _replace(self.model, target, module)
        self._wrapped.clear()
        for parameter in self._frozen:
            parameter.requires_grad_(True)
        for module, training in self._training.items():
            module.training = training

    @contextmanager
    def routed(self, route: Route) -> Iterator[None]:
        """Send the tokens of the passes inside the block through the members that a route says."""
        self.route = route
        try:
            yield
        finally:
            self.route = None


class LoRALayer(nn.Module):
    """One target with the adapters of all members on it."""

    def __init__(self, base: nn.Module, attachment: Attachment, target: str, place: int) -> None:
        super().__init__()
        self.base = base
        # Held in a tuple so that the attachment, which holds the model, is no submodule of the model.
        self._attachment = (attachment,)
        self.target = target
        self.place = place

    def forward(self, x: Float[Tensor, "*batch token in_"]) -> Float[Tensor, "*batch token out"]:
        """The base's output, plus (alpha / rank) B A x of the member that each token belongs to."""
        (attachment,) = self._attachment
        base = self.base(x)
        route = attachment.route
        if route is None:
            return base
        if x.shape[-2] != sum(route.tokens):
            raise KvorumError(
                f"target {self.target} sees {x.shape[-2]} tokens of {sum(route.tokens)}: this model routes tokens "
                "past it, so that an adapter there cannot follow them; leave it out of the targets"
            )
        if attachment.dropout and route.dropout_seeds is not None:
            x = _dropout(x, attachment.dropout, route.dropout_seeds, self.place)
        stack = attachment.stack
        # One unbind and one split, since slicing a stack makes the backward pass fill full-size zeros.
        a, b = stack.a[self.target].unbind(0), stack.b[self.target].unbind(0)
        parts = [
            (part.to(a[m].dtype) @ a[m].T * stack.scaling) @ b[m].T
            for m, part in zip(route.positions, x.split(route.tokens, dim=-2), strict=True)
        ]
        return base + torch.cat(parts, dim=-2).to(base.dtype)


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(parent), leaf, module)


def _dropout(x: Tensor, p: float, seeds: Sequence[tuple[int, int]], place: int) -> Tensor:
    """Dropout whose mask depends on the question and the target alone, whatever else is in the pass."""
    keep = []
    for seed, tokens in seeds:
        generator = torch.Generator(device=x.device).manual_seed((seed + place) % 2**63)
        keep.append(torch.rand(tokens, x.shape[-1], generator=generator, device=x.device) >= p)
    return x * torch.cat(keep).to(x.dtype) / (1 - p)
