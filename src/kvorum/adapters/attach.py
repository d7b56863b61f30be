"""A stack onto a model, and off it again."""

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from kvorum.adapters.lora import low_rank
from kvorum.adapters.stack import AdapterStack
from kvorum.adapters.targets import target_of
from kvorum.adapters.transfer import sent
from kvorum.errors import KvorumError, nearest


@dataclasses.dataclass(frozen=True)
class Route:
    """Which tokens of a pass go through which member's adapters."""

    spans: Int[Tensor, "member 2"]
    """Where the tokens of each member along the stack's axis begin and end; empty where it has none. On the CPU."""
    owner: Int[Tensor, " token"]
    """The position of each token's member along the stack's axis, on the model's device."""
    dropout_seeds: tuple[tuple[int, int], ...] | None = None
    """For dropout: a seed and a number of tokens a question, in the order of the tokens."""
    owners: dict[torch.device, Tensor] = dataclasses.field(default_factory=dict)
    """`owner` on the other devices of a model that is spread over several, each sent once."""

    @classmethod
    def of(
        cls,
        positions: Sequence[int],
        tokens: Sequence[int],
        *,
        members: int,
        device: torch.device,
    ) -> "Route":
        """From positions along the stack's axis of `members`, in the order of their tokens, and how many each has."""
        spans = torch.zeros(members, 2, dtype=torch.long)
        stop = 0
        for position, count in zip(positions, tokens, strict=True):
            spans[position, 0], spans[position, 1] = stop, stop + count
            stop += count
        owner = torch.cat([torch.full((count,), position) for position, count in zip(positions, tokens, strict=True)])
        return cls(spans, sent(owner, device))

    def owner_on(self, device: torch.device) -> Int[Tensor, " token"]:
        """`owner` where a target computes."""
        if self.owner.device == device:
            return self.owner
        if device not in self.owners:
            self.owners[device] = self.owner.to(device)
        return self.owners[device]


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
        self.read: Tensor | None = None
        """The tokens of a pass whose predictions are read, where the last layer may leave out the others,"""
        self.read_route: Route | None = None
        """and their route."""
        self._wrapped: dict[str, nn.Module] = {}

    def __enter__(self) -> "Attachment":
        modules = dict(self.model.named_modules())
        for name in self.stack.a:
            if name not in modules:
                raise KvorumError(f"the base model has no module '{name}'{nearest(name, modules)}")
            target, a, b = target_of(name, modules[name]), self.stack.a[name], self.stack.b[name]
            if (a.shape[2], b.shape[1]) != (target.in_features, target.out_features):
                raise KvorumError(
                    f"the adapters of {name} map {a.shape[2]} numbers to {b.shape[1]}, the base model's map "
                    f"{target.in_features} to {target.out_features}; they are of another base model"
                )
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
    def routed(
        self, route: Route, read: Int[Tensor, " read"] | None = None, read_route: Route | None = None
    ) -> Iterator[None]:
        """Send the tokens of the passes inside the block through the members that a route says.

        `read`: the tokens that alone are read, with their route.
        """
        self.route, self.read, self.read_route = route, read, read_route
        try:
            yield
        finally:
            self.route = self.read = self.read_route = None


class LoRALayer(nn.Module):
    """One target with the adapters of all members on it."""

    def __init__(self, base: nn.Module, attachment: Attachment, target: str, place: int) -> None:
        super().__init__()
        self.base = base
        # Held in a tuple so that the attachment, which holds the model, is no submodule of the model.
        self._attachment = (attachment,)
        self.a = attachment.stack.a[target]
        self.b = attachment.stack.b[target]
        self.scaling = attachment.stack.scaling
        self.target = target
        self.place = place
        self.where_read = False
        """Whether it lies where the last layer computes only what is read."""

    def forward(self, x: Float[Tensor, "*batch token in_"]) -> Float[Tensor, "*batch token out"]:
        """The base's output, plus (alpha / rank) B A x of the member that each token belongs to."""
        (attachment,) = self._attachment
        base = self.base(x)
        route = attachment.read_route if self.where_read and attachment.read is not None else attachment.route
        if route is None:
            return base
        # Not while a layer is compiled, which must be the same for all targets; a pass before it has looked.
        if not torch.compiler.is_compiling() and x.shape[-2] != len(route.owner):
            raise KvorumError(
                f"target {self.target} sees {x.shape[-2]} tokens of {len(route.owner)}: this model routes tokens "
                "past it, so that an adapter there cannot follow them; leave it out of the targets"
            )
        if attachment.dropout and route.dropout_seeds is not None:
            x = _dropout(x, attachment.dropout, route.dropout_seeds, self.place)
        x = x.to(self.a.device)
        owner = route.owner_on(x.device)
        added = low_rank(x.flatten(0, -2), self.a, self.b, route.spans, owner, self.scaling)
        return base + added.view(base.shape).to(base)


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
