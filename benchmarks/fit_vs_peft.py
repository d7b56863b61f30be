"""Tokens a second fitting M members on CommonsenseQA: kvorum in one pass, PEFT one member after another.

    python benchmarks/fit_vs_peft.py --data-root MIRROR --formats letter text --members 1 5 20 --json FILE

Same prompts, rank, targets and batch on every side; every round runs every side, in turn. What is counted on every side
are the tokens of the questions, each once: no padding, and no prompt repeated for another candidate. PEFT's members
have nothing in common, so M of them cost M times what one costs: `--peft-steps` steps stand for any M.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import machine, median, ratios, seconds, spread, table, turns, write_json
from peft_sides import SIDES, PeftMember, Side

import kvorum
from kvorum.adapters import find_targets, kaiming_uniform_stack
from kvorum.engine import BaseModel, Item, attached, compiled, load_base
from kvorum.posterior.optimizer import MemberAdamW
from kvorum.posterior.posterior import token_budget
from kvorum.posterior.priors import product
from kvorum.posterior.step import take_step
from kvorum.tasks import EncodedQuestion, Prompt, default_template, encode

L2, LR, CLIP, ALPHA = 1.0, 5e-6, 0.3, 32.0


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
    parser.add_argument("--peft-steps", type=int, default=5, help="steps of PEFT in a round")
    parser.add_argument("--sides", nargs="*", default=[side.name for side in SIDES], help="which of PEFT's ways")
    parser.add_argument("--token-budget", type=int, help="most tokens in a pass of kvorum; default: by device")
    parser.add_argument(
        "--compile", action=argparse.BooleanOptionalAction, default=True, help="compile kvorum's layers"
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    asked = parser.parse_args(argv)
    base = load_base(asked.model)
    task = kvorum.load_task(asked.task, data_root=asked.data_root)
    every = []
    for answer_format in asked.formats:
        prompt = Prompt(answer_format=answer_format, template=default_template(answer_format), chat=False)
        questions = encode(task.train, prompt, base.tokenizer, max_length=base.max_length)
        rows = compared(base, questions, answer_format, asked)
        title = f"{asked.task}, {answer_format}, {asked.model}, {' '.join(asked.targets)}, batch {asked.batch}"
        print("\n" + table([{k: v for k, v in row.items() if k != "rates"} for row in rows], title), flush=True)
        every += [{"format": answer_format, **row} for row in rows]
    print("\n" + "  ".join(f"{k} {v}" for k, v in machine().items()))
    if asked.json:
        write_json(asked.json, every, asked={k: str(v) for k, v in vars(asked).items()})
    return every


def compared(
    base: BaseModel, questions: Sequence[EncodedQuestion], answer_format: str, asked: argparse.Namespace
) -> list[dict[str, Any]]:
    """A row for kvorum at every M and for every one of PEFT's ways."""
    draw = np.random.default_rng(0)
    ours = {f"kvorum, M = {m}": jointly(base, questions, answer_format, m, draw, asked) for m in asked.members}
    theirs = {
        side.name: one_by_one(base, questions, answer_format, side, draw, asked)
        for side in SIDES
        if side.name in asked.sides
    }
    for work in (*ours.values(), *theirs.values()):
        work()  # once uncounted: compiled, cached, and the pages touched
    rates = turns({**ours, **theirs}, asked.repeats)
    rows = []
    for name, measured in rates.items():
        row: dict[str, Any] = {"side": name, "tokens/s": median(measured), "spread": spread(measured)}
        for side in theirs:
            row[f"over {side}"] = median(ratios(measured, rates[side]))
        rows.append({**row, "rates": measured})
    if len(asked.members) > 1:
        first = rates[f"kvorum, M = {asked.members[0]}"]
        for row, m in zip(rows, asked.members, strict=False):
            row["cost of a member"] = median(ratios(first, rates[f"kvorum, M = {m}"]))
        for row in rows[len(asked.members) :]:
            row["cost of a member"] = None
    return rows


def jointly(
    base: BaseModel,
    questions: Sequence[EncodedQuestion],
    answer_format: str,
    members: int,
    draw: np.random.Generator,
    asked: argparse.Namespace,
) -> Callable[[], float]:
    """Tokens a second of kvorum: enough steps of M members to see as many questions as PEFT does."""
    targets = find_targets(base.model, asked.targets)
    stack = kaiming_uniform_stack(targets, members=range(members), rank=asked.rank, alpha=ALPHA, seed=0).to(base.device)
    for parameter in stack.parameters():
        parameter.requires_grad_(True)
    optimizer = MemberAdamW(stack, clip=CLIP)
    steps = max(1, asked.peft_steps // members)

    def work() -> float:
        chosen = [
            [[Item(m, questions[i]) for i in draw.choice(len(questions), asked.batch)] for m in range(members)]
            for _ in range(steps)
        ]

        tokens = sum(item.tokens() for batches in chosen for batch in batches for item in batch)
        with (
            attached(base.model, stack) as attachment,
            compiled(attachment, chosen[0][0], answer_format, wanted=asked.compile),
        ):

            def all_steps() -> None:
                for batches in chosen:
                    take_step(
                        attachment,
                        optimizer,
                        batches,
                        prior=product,
                        l2=L2,
                        lr=LR,
                        answer_format=answer_format,
                        normalisation="sum",
                        token_budget=token_budget(base.device, asked.token_budget),
                    )

            return tokens / seconds(all_steps)

    return work


def one_by_one(
    base: BaseModel,
    questions: Sequence[EncodedQuestion],
    answer_format: str,
    side: Side,
    draw: np.random.Generator,
    asked: argparse.Namespace,
) -> Callable[[], float]:
    """Tokens a second of PEFT."""
    by_length = sorted(range(len(questions)), key=lambda i: Item(0, questions[i]).tokens())

    def batch() -> list[EncodedQuestion]:
        if side.length_grouped:
            # Grouped over the whole training set: hardly anything is padded.
            start = int(draw.integers(0, len(questions) - asked.batch + 1))
            return [questions[i] for i in by_length[start : start + asked.batch]]
        return [questions[i] for i in draw.choice(len(questions), asked.batch)]

    def work() -> float:
        torch.manual_seed(0)
        member = PeftMember(base.model, side, targets=asked.targets, rank=asked.rank, alpha=ALPHA, l2=L2, lr=LR)
        chosen = [batch() for _ in range(asked.peft_steps)]

        def all_steps() -> None:
            for one in chosen:
                member.step(one, answer_format)

        tokens = sum(Item(0, question).tokens() for one in chosen for question in one)
        try:
            return tokens / seconds(all_steps)
        finally:
            member.close()

    return work


if __name__ == "__main__":
    main()
