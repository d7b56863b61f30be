"""A step of a model whose layers lie on two devices: on a CPU and on one that PyTorch only believes in.

Run as a program, since a process keeps such a device for good. Its tensors hold no values, but an operator that is
given tensors of both devices fails as it would on GPUs.
"""

import dataclasses
import sys
import warnings
from typing import Any

import accelerate.hooks
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

from kvorum.adapters import find_targets, kaiming_uniform_stack
from kvorum.engine import Item, attached, build_pack, checkpointed
from kvorum.engine.attention import prepared
from kvorum.engine.spread import leave_in_place
from kvorum.posterior import objective
from kvorum.posterior.estimate import _emptied
from kvorum.posterior.optimizer import MemberAdamW
from kvorum.posterior.priors import PRIORS
from kvorum.posterior.step import take_step
from tests import tiny

MODE = FakeTensorMode(allow_non_fake_inputs=True)
PLACES = {
    "llama": (
        {"model.embed_tokens", "model.rotary_emb", "model.layers.0"},
        {"model.layers.1", "model.layers.2", "model.norm", "lm_head"},
    ),
    "gpt2": (
        {"transformer.wte", "transformer.wpe", "transformer.drop", "transformer.h.0", "lm_head"},
        {"transformer.h.1", "transformer.h.2", "transformer.ln_f"},
    ),
}


class Backend:
    def is_available(self) -> bool:
        return True

    def is_initialized(self) -> bool:
        return True

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]

    def is_autocast_enabled(self) -> bool:
        return False


def place(module: nn.Module, name: str, device: Any, **_: Any) -> None:
    """What accelerate does to a weight, which cannot be done so to one without values."""
    owner, _, leaf = name.rpartition(".")
    there = module.get_submodule(owner)
    own: dict[str, Any] = there._parameters if leaf in there._parameters else there._buffers
    moved = own[leaf].to(device)
    own[leaf] = nn.Parameter(moved, requires_grad=False) if own is there._parameters else moved


def main(name: str, first: str, second: str) -> None:
    model: Any = tiny.model(name)
    _setup_privateuseone_for_python_backend("believed", backend_module=Backend())
    accelerate.hooks.set_module_tensor_to_device = place

    def pack_without_values(items: Any) -> Any:
        with unset_fake_temporarily():
            pack = build_pack(items)
            if first == "cpu":
                # What depends on values is made before there are none.
                pack = dataclasses.replace(pack, layout=prepared(pack.layout, model))
        return _emptied(pack, torch.device("cpu"))

    objective.build_pack = pack_without_values
    # Values that are not there cannot be made by two threads at once.
    torch.autograd.set_multithreading_enabled(False)
    for module in model.modules():
        for own in (module._parameters, module._buffers):
            for leaf, tensor in own.items():
                if tensor is not None:
                    made = MODE.from_tensor(tensor.detach())
                    own[leaf] = nn.Parameter(made, requires_grad=False) if own is module._parameters else made
    with MODE:
        parts = {
            part: torch.device(there)
            for there, some in zip((first, second), PLACES[name], strict=True)
            for part in some
        }
        model.hf_device_map = parts
        accelerate.hooks.attach_align_device_hook_on_blocks(
            model, execution_device={**parts, "": torch.device(first)}, offload=dict.fromkeys(parts, False)
        )
        leave_in_place(model)
        stack = kaiming_uniform_stack(
            find_targets(model, ["all-linear"]), members=range(3), rank=2, alpha=4.0, seed=0
        ).beside(model)
        for parameter in stack.parameters():
            parameter.requires_grad_(True)
        print("adapters", sorted({str(parameter.device) for parameter in stack.parameters()}))
        optimizer = MemberAdamW(stack, clip=0.3)
        for twice in (False, True):
            for answer_format in ("text", "letter"):
                batches = [[Item(member, q) for q in tiny.questions(4, answer_format)] for member in range(3)]
                with attached(model, stack) as attachment, checkpointed(attachment, wanted=twice):
                    taken = take_step(
                        attachment,
                        optimizer,
                        batches,
                        prior=PRIORS["factors" if twice else "product"],
                        l2=0.1,
                        lr=1e-3,
                        answer_format=answer_format,
                        normalisation="mean",
                        token_budget=200,
                    )
                print("step", twice, answer_format, sorted({str(value.device) for value in taken.values()}))
        moments = {str(value.device) for key, value in optimizer.state().items() if key.endswith("exp_avg")}
        print("moments", sorted(moments))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(*sys.argv[1:])
