"""Fits a tiny model with its layers compiled and as they are, and writes how far apart they end, as JSON.

A process of its own, for `test_compiled`: a compiler cannot look through the checks of shapes that tests run with.
"""

import json
import logging
import sys
from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch._dynamo.utils import counters

from kvorum.adapters import Attachment, find_targets, kaiming_uniform_stack
from kvorum.engine import Item, attached, build_pack, score_pack
from kvorum.engine.compiled import compiled
from kvorum.engine.last_layer import decoder_layers
from kvorum.posterior.optimizer import MemberAdamW
from kvorum.posterior.priors import product
from kvorum.posterior.step import take_step
from tests import tiny

MEMBERS = 3


class Heard(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def graphs() -> int:
    """How many graphs were compiled so far."""
    return counters["stats"]["unique_graphs"]


def batches(answer_format: str, count: int, seed: int, opening: tuple[int, ...]) -> list[list[Item]]:
    return [[Item(m, q) for q in tiny.questions(count, answer_format, seed + m, opening)] for m in range(MEMBERS)]


def fit(answer_format: str, *, compile: bool) -> tuple[dict, dict]:
    """The adapters and the optimizer's state after two steps, and what is to be told of the layers."""
    model = tiny.model("llama")
    # Of all places in a layer, but not all targets, each of which would be compiled for.
    targets = find_targets(model, ["q_proj", "o_proj", "down_proj"])
    stack = kaiming_uniform_stack(targets, members=range(MEMBERS), rank=2, alpha=4.0, seed=0)
    for parameter in stack.parameters():
        parameter.requires_grad_(True)
    optimizer = MemberAdamW(stack, clip=1.0)
    told: dict = {}
    with attached(model, stack) as attachment:
        layers = decoder_layers(model)

        def step(items: list[list[Item]], lr: float) -> None:
            take_step(
                attachment,
                optimizer,
                items,
                prior=product,
                l2=0.1,
                lr=lr,
                answer_format=answer_format,
                normalisation="sum",
                token_budget=10_000,
            )

        first = [item for batch in batches(answer_format, 2, 50, (1, 2)) for item in batch]
        with compiled(attachment, first, answer_format) if compile else nullcontext():
            told["compiled"] = ["forward" in layer.__dict__ for layer in layers]
            for seed in (0, 10):
                step(batches(answer_format, 3, seed, (1, 2)), 3e-3)
            after = optimizer.state() | {name: x.detach().clone() for name, x in stack.named_parameters()}
            if compile:
                told["more"] = counted(lambda: others(step, answer_format))
            if compile and answer_format == "text":
                score(attachment, answer_format, 2)
                told["more"] += counted(lambda: [score(attachment, answer_format, n) for n in (3, 5, 7)])
        told["left"] = [name for layer in layers for name in layer.__dict__ if name == "forward"]
    return after, told


def others(step: Callable, answer_format: str) -> None:
    """Six packs of other sizes, with an opening to share and without, with fewer members and in another order."""
    for count, seed, opening in ((2, 20, (1, 2)), (4, 30, ()), (5, 40, (1, 2, 3, 4)), (7, 60, (9,))):
        step(batches(answer_format, count, seed, opening), 1e-3)
    step(batches(answer_format, 3, 70, (4, 5, 6))[::-1], 1e-3)
    step(batches(answer_format, 6, 90, ())[:2], 1e-3)


@torch.no_grad()
def score(attachment: Attachment, answer_format: str, count: int) -> None:
    items = [item for batch in batches(answer_format, count, 5 * count, (1,)) for item in batch]
    score_pack(attachment, build_pack(items), answer_format=answer_format)


def counted(work: Callable) -> int:
    before = graphs()
    work()
    return graphs() - before


def main() -> None:
    heard = Heard()
    logging.getLogger("kvorum").addHandler(heard)
    found = {}
    for answer_format in ("text", "letter"):
        plain, _ = fit(answer_format, compile=False)
        fused, told = fit(answer_format, compile=True)
        assert plain.keys() == fused.keys()
        names = {
            "gradients": [n for n in plain if n.endswith("exp_avg")],
            "adapters": [n for n in plain if n[-6:] in ("lora_A", "lora_B")],
        }
        for what, each in names.items():
            # The gradients' moments by their size: where a gradient is near zero, AdamW makes much of its rounding.
            size = max(plain[n].abs().max().item() for n in each) if what == "gradients" else 1.0
            told[what] = max((plain[n] - fused[n]).abs().max().item() for n in each) / size
        moved = max(plain[n].abs().max().item() for n in names["adapters"] if n.endswith("lora_B"))
        found[answer_format] = told | {"moved": moved, "graphs": graphs()}
    sys.stdout.write(json.dumps(found | {"warnings": heard.messages}) + "\n")


if __name__ == "__main__":
    main()
