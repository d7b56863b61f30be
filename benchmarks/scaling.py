"""What a fit of 20 members costs on many GPUs: counted work, at a rate that is measured here or given.

    python benchmarks/scaling.py --data-root MIRROR --json FILE

Counted, exactly: parameters of the base and of a member (on the meta device), tokens of the questions (with SmolLM2's
tokenizer), floating-point operations a token, bytes that are saved and sent. Measured on this machine, in turn: what
share of the rate of a large matrix product a fit and a scoring pass reach. Computed from both: hours on cards of a
given rate (`--tflops`, of matrix products). What the memory of a card must hold is what `kvorum fit --dry-run` says.
On a GPU the measured part runs there, and its own rate of matrix products takes the place of the given one.
"""

import argparse
import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from measure import machine, median, seconds, spread, table, turns, write_json

from kvorum.adapters import find_targets
from kvorum.config import FitConfig, fit_config
from kvorum.engine import Item
from kvorum.engine.base_model import source_of
from kvorum.posterior.fitting import Fitting
from kvorum.posterior.job import Job, plan
from kvorum.posterior.progress import Silent

MEMBERS, EPOCHS, RANK = 20, 3, 8
GPUS = (8, 64)
PREDICTION_BYTES = 8 * 6
"""Of a question and member, uncompressed: five candidates and the rest, as float64."""
SHAPES = {
    "7B": transformers.MistralConfig(vocab_size=32_000),
    "70B": transformers.LlamaConfig(
        vocab_size=32_000,
        hidden_size=8192,
        intermediate_size=28_672,
        num_hidden_layers=80,
        num_attention_heads=64,
        num_key_value_heads=8,
    ),
}


@dataclasses.dataclass(frozen=True)
class Shape:
    """A base model, counted."""

    parameters: int
    linear: int
    """In the maps that every token goes through; the head is not among them."""
    head: int
    member: int
    """A member's own, of rank `RANK` on all linear maps."""

    @classmethod
    def of(cls, model: Any) -> "Shape":
        targets = find_targets(model, ["all-linear"])
        linear = sum(t.in_features * t.out_features for t in targets)
        return cls(
            parameters=sum(p.numel() for p in model.parameters()),
            linear=linear,
            head=model.get_output_embeddings().weight.numel(),
            member=RANK * sum(t.in_features + t.out_features for t in targets),
        )

    def flop(self, *, read: float, learning: bool) -> float:
        """Floating-point operations a token; `read`: the share of the tokens whose predictions are read.

        A product of a token with a matrix is two a parameter. The way back through frozen maps is as much again, and
        through adapters twice as much, since they are learned. Attention and norms are left out: under 5% here.
        """
        forward = 2 * (self.linear + read * self.head + self.member)
        return forward + (2 * (self.linear + read * self.head) + 4 * self.member if learning else 0)


def main(argv: Sequence[str] | None = None) -> list[dict[str, Any]]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", help="a local mirror of the question sets; default: KVORUM_DATA, or the hub")
    parser.add_argument("--model", default="smollm2-135m", help="what the rates are measured with")
    parser.add_argument("--task", default="commonsense_qa")
    parser.add_argument("--questions", type=int, default=48, help="that the measured fits are on")
    parser.add_argument("--members", type=int, default=4, help="of the measured fits")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tflops", type=float, default=600.0, help="that matrix products reach on a card in bfloat16")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args(argv)
    job = plan(_config(asked), kept=False)
    tokens = _tokens(asked)
    rates = _measured(job, asked.rounds)
    cards = rates["matmul_tflops"] if job.base.device.type == "cuda" else asked.tflops
    rows = [
        _row(name, gpus, Shape.of(_skeleton(config)), tokens, rates, cards)
        for name, config in SHAPES.items()
        for gpus in GPUS
    ]
    for title, columns in TABLES.items():
        print(table([{c: row[c] for c in columns} for row in rows], f"\n{title}"))
    memory = [
        _memory(name, config, members, asked, quantize=quantize, checkpointing=checkpointing)
        for name, config in SHAPES.items()
        for members in (3, 1)
        for quantize in ("off", "4bit")
        for checkpointing in (False, True)
    ]
    print(table(memory, "\nMemory of a worker on a GPU, GiB"))
    print(f"\nmeasured: {rates}\ntokens: {tokens}\nmatrix products on a card: {cards:g} TFLOP/s")
    if asked.json:
        write_json(asked.json, rows, measured=rates, tokens=tokens, card_tflops=cards, memory=memory)
    return rows


def _config(asked: argparse.Namespace) -> FitConfig:
    return fit_config(
        {
            "model": asked.model,
            "task": asked.task,
            "data_root": asked.data_root,
            "members": asked.members,
            "epochs": 1,
            "train_limit": asked.questions,
            "evaluate_limit": asked.questions,
            "compile": "off",
        }
    )


def _tokens(asked: argparse.Namespace) -> dict[str, float]:
    """Of all questions of the task, as one member sees them."""
    whole = plan(dataclasses.replace(_config(asked), train_limit=None, evaluate_limit=None), kept=False)
    train = sum(Item(0, one).tokens() for one in whole.encoded)
    test = sum(Item(0, one).tokens() for one in whole.evaluation_encoded[0])
    read = sum(len(candidate) for one in whole.encoded for candidate in one.candidates)
    return {
        "train_questions": len(whole.encoded),
        "test_questions": len(whole.evaluation_encoded[0]),
        "fitting_a_member_and_epoch": train,
        "scoring_a_member_and_epoch": test,
        "read": read / train,
    }


def _measured(job: Job, rounds: int) -> dict[str, float]:
    """How much of a matrix product's rate fitting and scoring reach, round by round."""
    shape, tokens = Shape.of(job.base.model), job.tokens_per_epoch
    read = sum(len(c) for one in job.encoded for c in one.candidates) / max(1, tokens // len(job.members))
    fitting, product = Fitting(job, None, Silent()), _product(job)
    posterior = fitting.run_all()
    scored = len(job.members) * sum(Item(0, one).tokens() for one in job.evaluation_encoded[0])
    found = turns(
        {
            "product": lambda: product / seconds(_multiply(job)) / 1e12,
            "fitting": lambda: tokens / seconds(lambda: Fitting(job, None, Silent()).run_all()),
            "scoring": lambda: (
                scored / seconds(lambda: posterior.predict(job.evaluation[0], encoded=job.evaluation_encoded[0]))
            ),
        },
        rounds,
    )
    of_fitting = shape.flop(read=read, learning=True) / 1e12
    of_scoring = shape.flop(read=read, learning=False) / 1e12
    pairs = zip(found["product"], found["fitting"], found["scoring"], strict=True)
    parts = [(f * of_fitting / p, s * of_scoring / p) for p, f, s in pairs]
    return {
        "matmul_tflops": median(found["product"]),
        "fitting_tokens_per_second": median(found["fitting"]),
        "scoring_tokens_per_second": median(found["scoring"]),
        "fitting_share": median([part[0] for part in parts]),
        "scoring_share": median([part[1] for part in parts]),
        "fitting_share_spread": spread([part[0] for part in parts]),
        "scoring_share_spread": spread([part[1] for part in parts]),
    }


SIDE = 2048


def _product(job: Job) -> float:
    return 10 * 2 * SIDE**3 * (20 if job.base.device.type == "cuda" else 1)


def _multiply(job: Job) -> Any:
    """Ten large products, or two hundred on a GPU."""
    kind = next(job.base.model.parameters()).dtype
    a = torch.randn(SIDE, SIDE, device=job.base.device, dtype=kind)
    times = 10 * (20 if job.base.device.type == "cuda" else 1)

    def work() -> None:
        for _ in range(times):
            torch.mm(a, a)

    work()
    return work


def _skeleton(config: Any) -> Any:
    with torch.device("meta"):
        return transformers.AutoModelForCausalLM.from_config(config)


def _memory(
    name: str, config: Any, members: int, asked: argparse.Namespace, *, quantize: str, checkpointing: bool
) -> dict[str, Any]:
    """What a fit of a base of this shape needs on a card, as its dry run says; no weights are there."""
    with tempfile.TemporaryDirectory() as folder:
        config.architectures = [{"mistral": "MistralForCausalLM", "llama": "LlamaForCausalLM"}[config.model_type]]
        config.save_pretrained(folder)
        transformers.AutoTokenizer.from_pretrained(source_of(asked.model)).save_pretrained(folder)
        settings = {"model": folder, "members": members, "device": "cuda", "dtype": "bfloat16", "quantize": quantize}
        settings |= {"gradient_checkpointing": checkpointing, "rank": RANK}
        settings |= {"train_limit": None, "evaluate_limit": None}
        job = plan(dataclasses.replace(_config(asked), **settings), kept=False, weights=False)
        found = {what: size / 2**30 for what, size in job.memory_estimate().items()}
    return {
        "base": name,
        "held in": "bf16" if quantize == "off" else quantize,
        "layers computed twice": "yes" if checkpointing else "",
        "members": members,
        **found,
        "together": sum(found.values()),
    }


def _row(
    name: str, gpus: int, shape: Shape, tokens: dict[str, float], rates: dict[str, float], cards: float
) -> dict[str, Any]:
    largest = -(-MEMBERS // gpus)
    workers = -(-MEMBERS // largest)
    fitted = largest * EPOCHS * tokens["fitting_a_member_and_epoch"]
    scored = largest * (EPOCHS + 1) * tokens["scoring_a_member_and_epoch"]
    rate = cards * 1e12
    fitting = fitted * shape.flop(read=tokens["read"], learning=True) / (rate * rates["fitting_share"])
    scoring = scored * shape.flop(read=tokens["read"], learning=False) / (rate * rates["scoring_share"])
    adapters = 4 * shape.member
    return {
        "base": name,
        "GPUs": gpus,
        "workers": workers,
        "members of the largest group": largest,
        "Mtokens fitted": MEMBERS * EPOCHS * tokens["fitting_a_member_and_epoch"] / 1e6,
        "Mtokens scored": MEMBERS * (EPOCHS + 1) * tokens["scoring_a_member_and_epoch"] / 1e6,
        "TFLOP a ktoken fitted": shape.flop(read=tokens["read"], learning=True) / 1e9,
        "hours fitting": fitting / 3600,
        "hours scoring": scoring / 3600,
        "GPU-hours busy": (fitting + scoring) / 3600 * MEMBERS / largest,
        "base, GB in bf16": 2 * shape.parameters / 1e9,
        "a member, MB": adapters / 1e6,
        "a saved point of a worker, GB": 3 * adapters * largest / 1e9,
        "sent by all workers, GB": (3 * adapters * EPOCHS + adapters) * MEMBERS / 1e9,
        "run directory, GB": (adapters * (EPOCHS + 1) + 2 * adapters) * MEMBERS / 1e9
        + (EPOCHS + 1) * MEMBERS * tokens["test_questions"] * PREDICTION_BYTES / 1e9,
    }


TABLES = {
    "Time": (
        "base",
        "GPUs",
        "workers",
        "members of the largest group",
        "Mtokens fitted",
        "Mtokens scored",
        "TFLOP a ktoken fitted",
        "hours fitting",
        "hours scoring",
        "GPU-hours busy",
    ),
    "Memory, traffic and storage": (
        "base",
        "GPUs",
        "base, GB in bf16",
        "a member, MB",
        "a saved point of a worker, GB",
        "sent by all workers, GB",
        "run directory, GB",
    ),
}

if __name__ == "__main__":
    print(machine())
    main()
