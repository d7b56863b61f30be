"""What `kvorum fit --dry-run` says that a fit needs, against what it does.

    python benchmarks/memory_estimate.py --json FILE

Every measurement has a process of its own, which loads the model and takes two optimizer steps, layers not compiled.
What is measured are the bytes that PyTorch's allocator has given out and not got back, at most, as torch.profiler
records them, and what the base model's weights take; beside it stands how far the process's resident memory rose above
what it held with the model loaded, with what the libraries take for themselves. The estimate comes first, without
weights.
"""

import argparse
import gc
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from measure import machine, table, write_json
from memory import begin_peak, peak

from kvorum.adapters import kaiming_uniform_stack
from kvorum.config import FitConfig, fit_config
from kvorum.engine import Item, attached, checkpointed
from kvorum.posterior.job import Job, plan
from kvorum.posterior.optimizer import MemberAdamW
from kvorum.posterior.priors import PRIORS
from kvorum.posterior.step import take_step

MIB = 2**20
STEPS = 2


def main(argv: Sequence[str] | None = None) -> list[dict[str, Any]]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--task", default="facts_capitals")
    parser.add_argument("--members", type=int, nargs="+", default=[2, 8])
    parser.add_argument("--budgets", type=int, nargs="+", default=[400, 2304])
    parser.add_argument("--kinds", nargs="+", default=["float32", "bfloat16", "4bit", "8bit"])
    parser.add_argument("--checkpointing", type=int, nargs="+", default=[0, 1], choices=[0, 1])
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    asked = parser.parse_args(argv)
    rows = []
    for kind in asked.kinds:
        for members in asked.members:
            for budget in asked.budgets:
                for twice in asked.checkpointing:
                    settings = {
                        "model": asked.model,
                        "task": asked.task,
                        "members": members,
                        "token_budget": budget,
                        "gradient_checkpointing": bool(twice),
                        "compile": "off",
                        "device": "cpu",
                        **({"dtype": kind} if "float" in kind else {"quantize": kind}),
                    }
                    rows.append({"base": kind, "members": members, "budget": budget, "twice": twice, **row(settings)})
                    print(rows[-1], file=sys.stderr, flush=True)
                    if asked.json:
                        write_json(asked.json, rows, asked={k: str(v) for k, v in vars(asked).items()})
    print("\n" + table(rows, f"Memory of a step, {asked.task}, {asked.model}, MiB"))
    print("\n" + "  ".join(f"{k} {v}" for k, v in machine().items()))
    return rows


def row(settings: dict[str, Any]) -> dict[str, Any]:
    command = [sys.executable, __file__, "--measured", json.dumps(settings)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    said, found = json.loads(done.stdout.splitlines()[-1])
    return {
        "estimate": round(said["total"] / MIB, 1),
        "measured": round(found["peak"] / MIB, 1),
        "apart": f"{said['total'] / found['peak'] - 1:+.1%}",
        "base model": round(found["base"] / MIB, 1),
        "above the base": f"{(said['total'] - said['base']) / (found['peak'] - found['base']) - 1:+.1%}",
        "resident rise": round(found["rise"] / MIB, 1),
        "estimate took, s": round(said["seconds"], 1),
    }


def estimated(config: FitConfig) -> dict[str, float]:
    job = plan(config, weights=False)
    begin = time.perf_counter()
    found = job.memory_estimate()
    return {"total": sum(found.values()), "base": found["base model"], "seconds": time.perf_counter() - begin}


def measured(config: FitConfig) -> dict[str, float]:
    job = plan(config)
    gc.collect()
    resident, _ = begin_peak(job.base.device)
    steps(job)
    rise = peak(job.base.device) - resident
    return {
        "base": job.base.bytes,
        "peak": job.base.bytes + most_at_once(lambda: steps(job)),
        "rise": rise,
    }


def steps(job: Job) -> None:
    """The steps of the first epoch with the most tokens, as `Fitting` takes them."""
    config = job.config
    stack = kaiming_uniform_stack(
        job.targets, members=job.members, rank=config.rank, alpha=config.alpha, seed=config.seed
    )
    for parameter in stack.parameters():
        parameter.requires_grad_(True)
    optimizer = MemberAdamW(stack, clip=config.clip)
    with (
        attached(job.base.model, stack, dropout=config.dropout) as attachment,
        checkpointed(attachment, wanted=config.gradient_checkpointing),
    ):
        for step in largest_steps(job)[-STEPS:]:
            take_step(
                attachment,
                optimizer,
                [[item for item in step if item.member == member] for member in range(len(job.members))],
                prior=PRIORS[config.prior],
                l2=config.l2,
                lr=config.lr,
                answer_format=config.answer_format,
                normalisation=config.normalisation,
                token_budget=job.token_budget,
            )


def largest_steps(job: Job) -> list[list[Item]]:
    """Of the first epoch, from the fewest tokens to the most."""
    size = job.config.batch_size
    orders = [job.order(member, 1) for member in job.members]
    every = [
        [
            Item(position, job.encoded[i], int(job.config.dropout > 0))
            for position, order in enumerate(orders)
            for i in order[step * size : (step + 1) * size]
        ]
        for step in range(job.steps_per_epoch)
    ]
    return sorted(every, key=lambda step: sum(item.tokens() for item in step))


def most_at_once(work: Callable[[], None]) -> int:
    """The most bytes that were given out and not got back while something ran."""
    # What was left behind before would be got back meanwhile, and count against it.
    gc.collect()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as seen:
        work()
    events = [event for event in seen.profiler.kineto_results.events() if event.name() == "[memory]"]  # pyright: ignore
    now = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return most


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measured"]:
        settled = fit_config(json.loads(sys.argv[2]))
        print(json.dumps([estimated(settled), measured(settled)]))
    else:
        main()
