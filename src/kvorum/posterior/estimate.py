"""What a step of a fit needs, by taking one with tensors that hold no values, and counting what lives at once."""

import copy
import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import PreTrainedModel

from kvorum.adapters import AdapterStack
from kvorum.adapters.targets import Target
from kvorum.config import FitConfig
from kvorum.engine import Item, Pack, attached, attention, build_pack, checkpointed, plan_packs, score_pack
from kvorum.engine.planned import without_values
from kvorum.posterior.live import LiveBytes
from kvorum.posterior.optimizer import MemberAdamW
from kvorum.posterior.priors import PRIORS

FieldsT = TypeVar("FieldsT")


@dataclasses.dataclass(frozen=True)
class Needed:
    """What a step needs beside the base model, at its worst moment, in bytes."""

    adapters: int
    """Values, gradients and AdamW's two moments."""
    activations: int
    """All else: what the layers keep for the backward pass, and what comes and goes."""


def needed(
    model: PreTrainedModel,
    targets: Sequence[Target],
    config: FitConfig,
    steps: Sequence[Sequence[Item]],
    *,
    budget: int,
    kind: str,
    scored: Sequence[Item] = (),
) -> Needed:
    """What the largest pass of some steps needs, and the optimizer after it; or a pass of scoring, where it needs more.

    `model` may be without weights: its modules count, made anew. `kind` is that of the device, `cpu` or any other.
    `scored`: what is scored in one pass, between epochs.
    """
    if config.dropout:
        # Which is drawn from a generator, and there is none for tensors of no device.
        kind = "cpu"
    pack, passes = _largest(steps, budget)
    members = max(item.member for step in steps for item in step) + 1
    size = config.rank * members * sum(t.in_features + t.out_features for t in targets) * 4
    with _stand_ins(model, targets, config, members, pack, kind) as (without, stack, emptied, counted):
        optimizer = MemberAdamW(stack, clip=config.clip)
        with (
            attached(without, stack, dropout=config.dropout) as attachment,
            checkpointed(attachment, wanted=config.gradient_checkpointing),
        ):
            scores = score_pack(
                attachment,
                emptied,
                answer_format=config.answer_format,
                normalisation=config.normalisation,
                dropout=config.dropout > 0,
            )
            # Loss and gradients are those of any one candidate.
            scores.log_probs[:, 0].sum().backward()
            del scores
            in_pass = counted.peak
            penalty = config.l2 * PRIORS[config.prior](stack)
            if penalty.requires_grad:
                penalty.sum().backward()
            counted.peak = counted.now
            optimizer.step(penalty.detach(), config.lr)
    # In the pass there are AdamW's moments of earlier steps, and gradients of earlier passes.
    here = _bytes(pack) + size + max(in_pass + 2 * size + (size if passes > 1 else 0), counted.peak)
    if scored:
        # Gradients are let go of before.
        here = max(here, 3 * size + _of_scoring(model, targets, config, members, build_pack(scored), kind))
    return Needed(4 * size, max(0, here - 4 * size))


@torch.no_grad()
def _of_scoring(
    model: PreTrainedModel, targets: Sequence[Target], config: FitConfig, members: int, pack: Pack, kind: str
) -> int:
    """What a pass that nothing is learned from needs beside the base model and the adapters, in bytes."""
    with _stand_ins(model, targets, config, members, pack, kind) as (without, stack, emptied, counted):
        with attached(without, stack) as attachment:
            score_pack(attachment, emptied, answer_format=config.answer_format, normalisation=config.normalisation)
        return _bytes(pack) + counted.peak


@contextmanager
def _stand_ins(
    model: PreTrainedModel, targets: Sequence[Target], config: FitConfig, members: int, pack: Pack, kind: str
) -> Iterator[tuple[PreTrainedModel, AdapterStack, Pack, LiveBytes]]:
    """The model, adapters and a pack without values, and what counts whatever else is made of them in the block."""
    if kind == "cpu":
        # What depends on values is made before there are none.
        pack = dataclasses.replace(pack, layout=attention.prepared(pack.layout, model))
    with _without_values(kind) as device:
        without = _modules_alone(model, device)
        stack = _zeros(targets, members, config, device)
        emptied = _emptied(pack, device)
        counted = LiveBytes()
        for held in (*without.parameters(), *without.buffers(), *stack.parameters()):
            counted.leave_out(held)
        with counted, _attention(kind):
            yield without, stack, emptied, counted


def _largest(steps: Sequence[Sequence[Item]], budget: int) -> tuple[Pack, int]:
    """The pass of the most tokens, and how many passes its step has."""
    best: tuple[int, list[Item], int] = (0, [], 0)
    for step in steps:
        runs = list(plan_packs(step, budget))
        for run in runs:
            tokens = sum(step[i].tokens() for i in run)
            if tokens > best[0]:
                best = tokens, [step[i] for i in run], len(runs)
    return build_pack(best[1]), best[2]


@contextmanager
def _without_values(kind: str) -> Iterator[torch.device]:
    """Where tensors hold no values: as on a CPU, or as on whatever is none."""
    with ExitStack() as stack:
        if kind == "cpu":
            stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        yield torch.device("cpu" if kind == "cpu" else "meta")


def _modules_alone(model: PreTrainedModel, device: torch.device) -> PreTrainedModel:
    """The same modules with weights that hold no values."""
    with torch.device("meta"):
        made: Any = type(model)(copy.deepcopy(model.config))
    names = dict(model.named_modules())
    for name, _ in list(made.named_modules()):
        if (own := without_values(names[name])) is not None:
            made.set_submodule(name, own)
    for module in made.modules():
        for own in (module._parameters, module._buffers):
            for name, tensor in own.items():
                if tensor is None:
                    continue
                dtype = model.dtype if tensor.is_floating_point() and own is module._parameters else tensor.dtype
                empty = torch.empty(tensor.shape, dtype=dtype, device=device)
                own[name] = nn.Parameter(empty, requires_grad=False) if own is module._parameters else empty
    return made.eval()


def _zeros(targets: Sequence[Target], members: int, config: FitConfig, device: torch.device) -> AdapterStack:
    a = {t.name: torch.zeros(members, config.rank, t.in_features, device=device) for t in targets}
    b = {t.name: torch.zeros(members, t.out_features, config.rank, device=device) for t in targets}
    stack = AdapterStack(a=a, b=b, alpha=config.alpha, members=tuple(range(members)))
    for parameter in stack.parameters():
        parameter.requires_grad_(True)
    return stack


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from _tensors(one)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from _tensors(getattr(value, field.name))


def _bytes(value: Any) -> int:
    return sum(t.numel() * t.element_size() for t in _tensors(value))


def _emptied(value: FieldsT, device: torch.device) -> FieldsT:
    """The same with tensors that hold no values, but for the lengths of sequences, which are read."""
    if isinstance(value, Tensor):
        return torch.empty(value.shape, dtype=value.dtype, device=device)  # pyright: ignore[reportReturnType]
    if isinstance(value, dict):
        return {key: _emptied(one, device) for key, one in value.items()}  # pyright: ignore[reportReturnType]
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return value
    fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    emptied = {name: one if name == "sizes" else _emptied(one, device) for name, one in fields.items()}
    return dataclasses.replace(value, **emptied)  # pyright: ignore[reportReturnType]


@contextmanager
def _attention(kind: str) -> Iterator[None]:
    """PyTorch's attention as a GPU's fused kernels keep it, which there are none of for tensors without values."""
    before = attention.fused
    if kind != "cpu":
        attention.fused = _fused
    try:
        yield
    finally:
        attention.fused = before


def _fused(q: Tensor, k: Tensor, v: Tensor, *, attn_mask: Tensor | None, **others: Any) -> Tensor:
    return _Fused.apply(q, k, v, attn_mask)  # pyright: ignore[reportReturnType]


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        out, normaliser = q.new_empty(*q.shape[:-1], v.shape[-1]), q.new_empty(q.shape[:-1], dtype=torch.float32)
        bias = None if mask is None else q.new_empty(mask.shape)
        ctx.save_for_backward(q, k, v, out, normaliser, bias)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return *(torch.empty_like(x) for x in ctx.saved_tensors[:3]), None
