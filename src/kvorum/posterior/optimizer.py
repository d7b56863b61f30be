"""AdamW over a stack, in which no member can touch another."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from kvorum.adapters import AdapterStack
from kvorum.errors import KvorumError


class MemberAdamW:
    """AdamW on the stacked A and B, with the gradient norm clipped and non-finite members frozen one by one.

    AdamW is elementwise, so a stack's members do not meet in it; clipping and the guard are per member here, since
    `clip_grad_norm_` over a stack would scale all by the norm of all. Loshchilov and Hutter, "Decoupled Weight Decay
    Regularization", arXiv 1711.05101; weight decay is 0, the prior being its place.
    """

    def __init__(self, stack: AdapterStack, *, clip: float) -> None:
        self.named = dict(stack.named_parameters())
        self.parameters = list(self.named.values())
        self.clip = clip
        """The largest gradient norm of a member; 0 = no clipping."""
        self.adamw = torch.optim.AdamW(self.parameters, lr=0.0, weight_decay=0.0)
        active = torch.tensor([i in stack.active for i in range(len(stack.members))])
        self.active: Bool[Tensor, " member"] = active.to(self.parameters[0].device)

    def step(self, loss: Float[Tensor, " member"], lr: float) -> Float[Tensor, " member"]:
        """One step at a learning rate; returns each member's gradient norm before clipping.

        A member whose loss or gradient is not finite is inactive from here on: it keeps the values that it has.
        """
        home = self.active.device
        norm = torch.stack([_gradient(p).square().sum((-2, -1)).to(home) for p in self.parameters]).sum(0).sqrt()
        self.active = self.active & norm.isfinite() & loss.isfinite()
        # Like clip_grad_norm_, so that a step equals that of a member trained alone.
        scale = (self.clip / (norm + 1e-6)).clamp(max=1.0) if self.clip else torch.ones_like(norm)
        places = {p.device for p in self.parameters}
        there = {place: (self.active[:, None, None].to(place), scale[:, None, None].to(place)) for place in places}
        for parameter in self.parameters:
            active, factor = there[parameter.device]
            # `where`, not a product: 0 x NaN is NaN.
            parameter.grad = torch.where(active, _gradient(parameter) * factor, 0.0)
            if momentum := self.adamw.state.get(parameter):
                # With neither gradient nor momentum AdamW leaves a value where it is.
                momentum["exp_avg"].masked_fill_(~active, 0.0)
        self.adamw.param_groups[0]["lr"] = lr
        try:
            self.adamw.step()
        except torch.OutOfMemoryError as error:
            # Some values may have moved already, so that the step cannot be done again.
            raise KvorumError(
                "the GPU's memory does not hold the optimizer's state; fit fewer --members or a lower --rank, and the "
                "same command goes on from the last saved point where the shapes stay"
            ) from error
        return norm

    def zero_grad(self) -> None:
        """Forget the gradients."""
        self.adamw.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Tensor]:
        """First and second moments and the step count, as `TARGET.lora_A:exp_avg`, and which members are active."""
        tensors = {"active": self.active.clone()}
        for name, parameter in self.named.items():
            for moment, value in (self.adamw.state.get(parameter) or _untouched(parameter)).items():
                tensors[f"{name}:{moment}"] = value.detach().clone()
        return tensors

    def mismatch(self, tensors: Mapping[str, Tensor]) -> str:
        """Why tensors are not what `state` gives once a step is taken; empty where they are."""
        expected = {"active": (self.active.shape, torch.bool)}
        for name, parameter in self.named.items():
            expected[f"{name}:step"] = (torch.Size(), torch.float32)
            expected |= {f"{name}:{moment}": (parameter.shape, torch.float32) for moment in ("exp_avg", "exp_avg_sq")}
        if tensors.keys() != expected.keys():
            return f"it holds other tensors, such as {sorted(tensors.keys() ^ expected.keys())[0]}"
        for name, (shape, kind) in expected.items():
            found = tensors[name]
            if (found.shape, found.dtype) != (shape, kind):
                return f"{name} is {found.dtype} of {tuple(found.shape)}, expected {kind} of {tuple(shape)}"
        return ""

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up what `state` gave."""
        device = self.parameters[0].device
        self.active = tensors["active"].to(device)
        for name, parameter in self.named.items():
            moments = {moment: tensors[f"{name}:{moment}"] for moment in ("step", "exp_avg", "exp_avg_sq")}
            # AdamW keeps its step count on the CPU.
            self.adamw.state[parameter] = {
                moment: value.clone() if moment == "step" else value.to(parameter.device, copy=True)
                for moment, value in moments.items()
            }


def state_of(state: Mapping[str, Tensor], positions: Sequence[int]) -> dict[str, Tensor]:
    """What `MemberAdamW.state` gives of some members, by their positions along the member axis."""
    index = list(positions)
    return {name: value[index] if value.ndim else value for name, value in state.items()}


def joined_states(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """What `MemberAdamW.state` gives of the members of several optimizers after as many steps, or fewer for members
    that all diverged before.
    """
    counts = {name: max(float(state[name]) for state in states) for name in states[0] if not states[0][name].ndim}
    return {
        name: torch.cat([state[name] for state in states]) if value.ndim else torch.tensor(counts[name])
        for name, value in states[0].items()
    }


def _untouched(parameter: Tensor) -> dict[str, Tensor]:
    """AdamW's state before any step: also of members that had all diverged before they could take one."""
    moments = {name: torch.zeros_like(parameter) for name in ("exp_avg", "exp_avg_sq")}
    return {"step": torch.tensor(0.0), **moments}


def _gradient(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad
