"""Peak memory of fitting against M, beside one PEFT run, at equal tokens a pass.

    python benchmarks/memory.py --data-root MIRROR --formats letter text --members 1 5 20 --json FILE

Every measurement has a process of its own, which loads the model and takes two optimizer steps; the questions come to
it tokenised. A pass of kvorum may hold as many tokens as the first batch of "PEFT, as people run it" sends through the
model, padding included: kvorum's peak is not small because its passes are.

On a CPU it is resident memory: what the process holds with the model loaded, and its peak from there on. Loading can
take more than the steps do, so the kernel's peak (VmHWM) is set back to what is held once the model is there; where
that cannot be done, the peak is that of the whole process. On a GPU it is what PyTorch has allocated there.
"""

import argparse
import dataclasses
import gc
import json
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import machine, median, ratios, spread, table, turns, write_json
from peft_sides import CLIP, PEOPLE, SIDES, PeftMember, Side, sequences

from kvorum.adapters import find_targets, kaiming_uniform_stack
from kvorum.engine import BaseModel, Item, attached, build_pack, compiled, load_base, plan_packs
from kvorum.posterior.optimizer import MemberAdamW
from kvorum.posterior.priors import product
from kvorum.posterior.step import take_step

L2, LR, ALPHA = 1.0, 5e-6, 32.0
STEPS = 2
MIB = 2**20


@dataclasses.dataclass(frozen=True)
class Question:
    prompt: tuple[int, ...]
    candidates: tuple[tuple[int, ...], ...]
    answer: int


Batches = list[list[list[Question]]]
"""By step, then by member."""


def main(argv: Sequence[str] | None = None) -> list[dict[str, Any]]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", help="a local mirror of the question sets; default: KVORUM_DATA, or the hub")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--task", default="commonsense_qa")
    parser.add_argument("--formats", nargs="+", choices=["letter", "text"], default=["letter", "text"])
    parser.add_argument("--members", type=int, nargs="+", default=[1, 5, 20])
    parser.add_argument("--targets", nargs="+", default=["q_proj", "v_proj"])
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--sides", nargs="*", default=[side.name for side in SIDES], help="which of PEFT's ways")
    parser.add_argument(
        "--compile",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="measure kvorum with its layers compiled, too; the compiler itself holds memory",
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    asked = parser.parse_args(argv)
    every = []
    for answer_format in asked.formats:
        rows = compared(encoded(answer_format, asked), answer_format, asked)
        title = f"Peak memory, {asked.task}, {answer_format}, {asked.model}, {' '.join(asked.targets)}, MiB"
        print("\n" + table([{k: v for k, v in row.items() if k != "measured"} for row in rows], title), flush=True)
        every += [{"format": answer_format, **row} for row in rows]
    print("\n" + "  ".join(f"{k} {v}" for k, v in machine().items()))
    if asked.json:
        write_json(asked.json, every, asked={k: str(v) for k, v in vars(asked).items()})
    return every


def encoded(answer_format: Any, asked: argparse.Namespace) -> list[Question]:
    # Not above: the processes that are measured tokenise nothing, and hold no memory for it.
    import kvorum
    from kvorum.tasks import Prompt, default_template, encode

    task = kvorum.load_task(asked.task, data_root=asked.data_root)
    base = load_base(asked.model, device="cpu")
    prompt = Prompt(answer_format=answer_format, template=default_template(answer_format), chat=False)
    found = encode(task.train, prompt, base.tokenizer, max_length=base.max_length)
    return [Question(q.prompt, q.candidates, q.answer) for q in found if q.answer is not None]


def compared(questions: Sequence[Question], answer_format: str, asked: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for kvorum at every M and for one run of every one of PEFT's ways."""
    measured: dict[str, list[dict[str, float]]] = {}

    def measure(name: str, members: int, compile_layers: bool) -> float:
        results = measured.setdefault(name, [])
        grouped = any(side.name == name and side.length_grouped for side in SIDES)
        batches, reference = (
            drawn(questions, m, asked.batch, len(results), grouped=g) for m, g in ((members, grouped), (1, False))
        )
        budget = sequences(reference[0][0], answer_format, PEOPLE.pad_to).input_ids.numel()
        side = next((side for side in SIDES if side.name == name), None)
        task = {
            "model": asked.model,
            "targets": asked.targets,
            "rank": asked.rank,
            "answer_format": answer_format,
            "side": name,
            "budget": budget,
            "compile": compile_layers,
            "batches": [[[dataclasses.astuple(q) for q in batch] for batch in step] for step in batches],
        }
        passed = tokens_a_pass(batches, answer_format, budget, side)
        results.append({**in_a_process(task), "tokens": passed})
        return results[-1]["peak"]

    works = {}
    for m in asked.members:
        for compile_layers in (False, True)[: 1 + asked.compile]:
            works[f"kvorum, M = {m}{', compiled' * compile_layers}"] = (m, compile_layers)
    for side in SIDES:
        if side.name in asked.sides:
            works[side.name] = (1, False)
    peaks = turns({name: lambda n=name, w=work: measure(n, *w) for name, work in works.items()}, asked.repeats)
    rows = []
    for name, found in measured.items():
        row: dict[str, Any] = {
            "side": name,
            "tokens a pass": round(median([one["tokens"] for one in found])),
            "base": median([one["base"] for one in found]) / MIB,
            "peak": median(peaks[name]) / MIB,
            "above the base": median([one["peak"] - one["base"] for one in found]) / MIB,
            "spread": spread(peaks[name]),
        }
        for side in SIDES:
            if side.name in asked.sides:
                row[f"over {side.name}"] = median(ratios(peaks[name], peaks[side.name]))
        rows.append({**row, "measured": found})
    return rows


def drawn(questions: Sequence[Question], members: int, batch: int, turn: int, *, grouped: bool) -> Batches:
    """The same questions for every side in a turn, member by member; of alike lengths where a side groups them."""
    draw = np.random.default_rng(turn)
    by_length = sorted(questions, key=lambda q: Item(0, q).tokens())
    steps = []
    for _ in range(STEPS):
        starts = draw.integers(0, len(questions) - batch + 1, members)
        chosen = [draw.choice(len(questions), batch) for _ in range(members)]
        steps.append(
            [by_length[start : start + batch] for start in starts]
            if grouped
            else [[questions[i] for i in some] for some in chosen]
        )
    return steps


def tokens_a_pass(batches: Batches, answer_format: str, budget: int, side: Side | None) -> int:
    """The most that a pass sends through the model, padding included."""
    if side is not None:
        return max(sequences(step[0], answer_format, side.pad_to).input_ids.numel() for step in batches)
    every = [[Item(m, q) for m, batch in enumerate(step) for q in batch] for step in batches]
    return max(build_pack([items[i] for i in run]).tokens for items in every for run in plan_packs(items, budget))


def in_a_process(task: dict[str, Any]) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, __file__, "--measured"], input=json.dumps(task), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{task['side']} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def measured_process() -> None:
    """Read what to run from standard input; write the bytes that it held and took to standard output."""
    task = json.load(sys.stdin)
    batches = [
        [
            [Question(tuple(prompt), tuple(map(tuple, candidates)), answer) for prompt, candidates, answer in batch]
            for batch in step
        ]
        for step in task.pop("batches")
    ]
    base = load_base(task["model"])
    for parameter in base.model.parameters():
        parameter.sum()  # weights are mapped from their file, and not in memory before they are read
    gc.collect()
    base_bytes, counted = begin_peak(base.device)
    side = next((side for side in SIDES if side.name == task["side"]), None)
    if side is None:
        fit_jointly(base, batches, task)
    else:
        fit_alone(base, batches, task, side)
    print(json.dumps({"base": base_bytes, "peak": peak(base.device), "since loading": counted}))


def begin_peak(device: torch.device) -> tuple[float, bool]:
    """What is held, and whether the peak is counted from here on."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated(), True
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        counted = True
    except OSError:
        counted = False
    return _status("VmRSS") or peak(device), counted


def peak(device: torch.device) -> float:
    """Bytes."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    # In KiB on Linux; macOS counts bytes.
    return _status("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )


def _status(name: str) -> float | None:
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((1024.0 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), None)


def fit_jointly(base: BaseModel, batches: Batches, task: dict[str, Any]) -> None:
    members = len(batches[0])
    stack = kaiming_uniform_stack(
        find_targets(base.model, task["targets"]), members=range(members), rank=task["rank"], alpha=ALPHA, seed=0
    ).to(base.device)
    for parameter in stack.parameters():
        parameter.requires_grad_(True)
    optimizer = MemberAdamW(stack, clip=CLIP)
    steps = [[[Item(m, q) for q in batch] for m, batch in enumerate(step)] for step in batches]
    with (
        attached(base.model, stack) as attachment,
        compiled(attachment, steps[0][0], task["answer_format"], wanted=task["compile"]),
    ):
        for step in steps:
            take_step(
                attachment,
                optimizer,
                step,
                prior=product,
                l2=L2,
                lr=LR,
                answer_format=task["answer_format"],
                normalisation="sum",
                token_budget=task["budget"],
            )


def fit_alone(base: BaseModel, batches: Batches, task: dict[str, Any], side: Side) -> None:
    torch.manual_seed(0)
    member = PeftMember(base.model, side, targets=task["targets"], rank=task["rank"], alpha=ALPHA, l2=L2, lr=LR)
    for (batch,) in batches:
        member.step(batch, task["answer_format"])


if __name__ == "__main__":
    if sys.argv[1:] == ["--measured"]:
        measured_process()
    else:
        main()
