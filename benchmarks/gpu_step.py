"""One optimizer step of a Mistral-7B-shaped model with random weights: kvorum for all members, PEFT one after another.

    PYTHONPATH=src python benchmarks/gpu_step.py --members 1 5 20 --profile profile.txt --json FILE

Needs torch, transformers, peft, safetensors, numpy and jaxtyping; kvorum need not be installed, nor data be there. The
questions have CommonsenseQA's lengths and random tokens. PEFT's members have nothing in common, so M of them cost M
times what one costs.

FLOP utilisation counts what fitting needs, on every side the same: for every token of a question twice the decoder's
matrices forward, and as much again backward for the activations (frozen weights need no gradient); the adapters; and
the head where the answer is read. Neither attention's products nor padding are counted.
"""

import argparse
import dataclasses
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import machine, median, ratios, seconds, spread, table, turns, write_json
from peft_sides import CLIP, SIDES, PeftMember, Side
from torch import nn
from torch.profiler import ProfilerActivity, profile
from transformers import AutoModelForCausalLM, MistralConfig, PreTrainedModel

from kvorum.adapters import find_targets, kaiming_uniform_stack
from kvorum.engine import Item, attached, compiled
from kvorum.posterior.optimizer import MemberAdamW
from kvorum.posterior.priors import product
from kvorum.posterior.step import take_step

L2, LR, ALPHA = 1.0, 5e-6, 32.0
TARGETS = ("q_proj", "v_proj")
SHAPES: dict[str, dict[str, Any]] = {
    "mistral-7b": {  # Mistral-7B-v0.1
        "vocab_size": 32000,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "sliding_window": 4096,
    },
    "tiny": {
        "vocab_size": 256,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "sliding_window": 4096,
    },
}
# Tokens of a prompt: 40 quantiles over the 9,741 training questions of CommonsenseQA in letter format, as SmolLM2's
# tokenizer reads them; their mean is 54, so that 8 questions of 5 members are about 2,160 tokens.
LENGTHS = """43 45 45 46 47 47 48 48 48 49 49 50 50 50 51 51 51 52 52 53
             53 53 54 54 55 55 56 56 57 57 58 58 59 60 61 62 63 65 68 75"""
LETTERS = 5
QUESTIONS = 4000
# Dense bf16 FLOP/s that products of matrices reach on an H200.
PEAK = {"cuda": 790.0}
GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Question:
    prompt: tuple[int, ...]
    candidates: tuple[tuple[int, ...], ...]
    answer: int


def main(argv: Sequence[str] | None = None) -> list[dict[str, Any]]:
    asked = parsed(argv)
    model = random_model(asked.shape, torch.device(asked.device), getattr(torch, asked.dtype))
    questions = random_questions(model.config.vocab_size)
    rows = compared(model, questions, asked)
    title = f"One step, {asked.shape}, {asked.dtype} on {asked.device}, {' '.join(TARGETS)}, batch {asked.batch}"
    print("\n" + table([{k: v for k, v in row.items() if k not in {"times", "flops"}} for row in rows], title))
    print("\n" + "  ".join(f"{k} {v}" for k, v in machine().items()))
    if asked.profile:
        asked.profile.write_text("\n".join(profiled(model, questions, m, asked) for m in asked.members))
    if asked.json:
        write_json(asked.json, rows, asked={k: str(v) for k, v in vars(asked).items()})
    return rows


def parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=list(SHAPES), default="mistral-7b")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], help="default: bfloat16, on a CPU float32")
    parser.add_argument("--members", type=int, nargs="+", default=[1, 5, 20])
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--sides", nargs="*", default=[side.name for side in SIDES], help="which of PEFT's ways")
    parser.add_argument("--token-budget", type=int, default=8192, help="most tokens in a pass of kvorum")
    parser.add_argument(
        "--compile", action=argparse.BooleanOptionalAction, default=True, help="compile kvorum's layers"
    )
    parser.add_argument("--peak", type=float, help="TFLOP/s that count as full use; default: an H200's in bfloat16")
    parser.add_argument("--steps", type=int, default=3, help="steps in a round, after one uncounted")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--profile", type=Path, help="write where kvorum's time goes, operator by operator")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    asked = parser.parse_args(argv)
    kind = torch.device(asked.device).type
    asked.dtype = asked.dtype or ("float32" if kind == "cpu" else "bfloat16")
    if asked.peak is None and asked.dtype == "bfloat16":
        asked.peak = PEAK.get(kind)
    return asked


def random_model(shape: str, device: torch.device, dtype: torch.dtype) -> PreTrainedModel:
    """Made where it computes and as it computes: nothing larger ever exists."""
    torch.manual_seed(0)
    with device:
        model = AutoModelForCausalLM.from_config(MistralConfig(**SHAPES[shape]), dtype=dtype)
    strayed = {(p.device.type, p.dtype) for p in model.parameters()} - {(device.type, dtype)}
    assert not strayed, f"parameters on {strayed}"
    return model.requires_grad_(False).eval()


def random_questions(vocabulary: int) -> list[Question]:
    draw = np.random.default_rng(0)
    lengths = draw.choice([int(length) for length in LENGTHS.split()], QUESTIONS)
    letters = tuple((vocabulary - 1 - i,) for i in range(LETTERS))
    return [
        Question(tuple(draw.integers(0, vocabulary, n).tolist()), letters, int(draw.integers(LETTERS))) for n in lengths
    ]


def flops(model: PreTrainedModel, tokens: float, read: float, rank: int) -> float:
    """What a step needs for its tokens, of which `read` reach the head."""
    decoder = sum(module.weight.numel() for module in model.model.modules() if isinstance(module, nn.Linear))
    adapters = sum(rank * (t.in_features + t.out_features) for t in find_targets(model, TARGETS))
    # Forward, and backward for the activations; the adapters' own gradients besides.
    return (4 * decoder + 6 * adapters) * tokens + 4 * model.lm_head.weight.numel() * read


# A step, and what ends when the steps do.
Begun = tuple[Callable[[], torch.Tensor], ExitStack]


class Work:
    """Steps of one side: a round gives seconds a step, and keeps the memory that they took."""

    def __init__(self, device: torch.device, steps: int, begin: Callable[[], Begun]) -> None:
        self.device, self.steps, self.begin = device, steps, begin
        self.peaks: list[float] = []

    def __call__(self) -> float:
        step, ending = self.begin()
        with ending:
            loss = step()  # once uncounted: moments made, kernels chosen
            if not bool(loss.isfinite().all()):
                raise ValueError(f"the loss is not finite: {loss}")
            if self.device.type == "cuda":
                torch.cuda.reset_peak_memory_stats()
            each = seconds(lambda: [step() for _ in range(self.steps)]) / self.steps
            if self.device.type == "cuda":
                self.peaks.append(torch.cuda.max_memory_allocated() / GIB)
        return each


def compared(model: PreTrainedModel, questions: Sequence[Question], asked: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for kvorum at every M and for one member of every one of PEFT's ways."""
    device = model.device
    held = torch.cuda.memory_allocated() / GIB if device.type == "cuda" else None
    draw = np.random.default_rng(1)
    ours = {m: Work(device, asked.steps, jointly(model, questions, m, draw, asked)) for m in asked.members}
    sides = [side for side in SIDES if side.name in asked.sides]
    theirs = {side.name: Work(device, asked.steps, alone(model, questions, side, draw, asked)) for side in sides}
    works = {f"kvorum, M = {m}": work for m, work in ours.items()} | theirs
    for work in works.values():
        work()  # once uncounted: compiled and cached
    times = turns(works, asked.repeats)
    mean = float(np.mean([len(question.prompt) for question in questions]))
    rows = []
    for name, members in zip(works, [*asked.members, *[1] * len(theirs)], strict=True):
        each, work = times[name], works[name]
        needed = flops(model, members * asked.batch * mean, members * asked.batch, asked.rank)
        peak = max(work.peaks) if work.peaks else None
        row: dict[str, Any] = {
            "side": name,
            "ms a step": 1e3 * median(each),
            "spread": spread(each),
            "tokens": members * asked.batch * mean,
            "TFLOP": needed / 1e12,
            "utilisation": needed / median(each) / (1e12 * asked.peak) if asked.peak else None,
            "peak GiB": peak,
            "above the base": peak - held if peak is not None and held is not None else None,
        }
        for side in theirs:
            # Steps of M members one after another; a side beside itself is one member beside one.
            row[f"over {side}"] = members * median(ratios(times[side], each))
        rows.append({**row, "flops": needed, "times": each})
    return rows


def jointly(
    model: PreTrainedModel,
    questions: Sequence[Question],
    members: int,
    draw: np.random.Generator,
    asked: argparse.Namespace,
) -> Callable[[], Begun]:
    """Steps of kvorum with M members, on fresh questions each."""

    def batches() -> list[list[Item]]:
        return [[Item(m, questions[i]) for i in draw.choice(len(questions), asked.batch)] for m in range(members)]

    def begin() -> Begun:
        stack = kaiming_uniform_stack(
            find_targets(model, TARGETS), members=range(members), rank=asked.rank, alpha=ALPHA, seed=0
        ).to(model.device)
        for parameter in stack.parameters():
            parameter.requires_grad_(True)
        optimizer = MemberAdamW(stack, clip=CLIP)
        ending = ExitStack()
        attachment = ending.enter_context(attached(model, stack))
        ending.enter_context(compiled(attachment, batches()[0], "letter", wanted=asked.compile))

        def step() -> torch.Tensor:
            return take_step(
                attachment,
                optimizer,
                batches(),
                prior=product,
                l2=L2,
                lr=LR,
                answer_format="letter",
                normalisation="sum",
                token_budget=asked.token_budget,
            )["loss"]

        return step, ending

    return begin


def alone(
    model: PreTrainedModel, questions: Sequence[Question], side: Side, draw: np.random.Generator, asked: Any
) -> Callable[[], Begun]:
    """Steps of one member with PEFT."""
    by_length = sorted(questions, key=lambda question: len(question.prompt))

    def batch() -> Sequence[Question]:
        if side.length_grouped:
            start = int(draw.integers(0, len(questions) - asked.batch + 1))
            return by_length[start : start + asked.batch]
        return [questions[i] for i in draw.choice(len(questions), asked.batch)]

    def begin() -> Begun:
        torch.manual_seed(0)
        member = PeftMember(model, side, targets=TARGETS, rank=asked.rank, alpha=ALPHA, l2=L2, lr=LR)
        ending = ExitStack()
        ending.callback(member.close)
        return lambda: member.step(batch(), "letter"), ending

    return begin


def profiled(model: PreTrainedModel, questions: Sequence[Question], members: int, asked: argparse.Namespace) -> str:
    """Where the time of one step of kvorum goes."""
    step, ending = jointly(model, questions, members, np.random.default_rng(2), asked)()
    on_gpu = model.device.type == "cuda"
    with ending:
        step()
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
        with profile(activities=activities) as taken:
            seconds(step)
    order = "self_cuda_time_total" if on_gpu else "self_cpu_time_total"
    return f"M = {members}\n" + taken.key_averages().table(sort_by=order, row_limit=40, max_name_column_width=80)


if __name__ == "__main__":
    main()
