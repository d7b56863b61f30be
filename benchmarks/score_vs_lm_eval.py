"""Questions a second by text: kvorum against lm-evaluation-harness, on the same questions with the same answers.

    python benchmarks/score_vs_lm_eval.py --data-root MIRROR --threads 2
    python benchmarks/score_vs_lm_eval.py --data-root MIRROR --members 1 --token-budget 128 256 512 1024 2048

Both sides start from loaded questions and a loaded model and end with an accuracy, so that prompts, tokens and scores
all count. The harness runs its own `arc_easy` task through `lm_eval.evaluate`, over ARC-Easy's test questions as kvorum
loaded them. One member is the base model itself; several have adapters of small random B, so that each must answer for
itself. Needs lm-eval: pip install 'kvorum[eval]'.
"""

import argparse
import copy
import dataclasses
import string
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import datasets
import lm_eval
import numpy as np
import torch
import yaml
from lm_eval.api.task import ConfigurableTask
from lm_eval.models.huggingface import HFLM
from measure import median, ratios, seconds, spread, table, turns, write_json

import kvorum
from kvorum.engine import BaseModel, load_base

TASK = "arc_easy"
ADAPTERS: dict[str, Any] = {"rank": 8, "targets": ("q_proj", "v_proj")}
B_STD = 0.01


@dataclasses.dataclass
class Side:
    """A way of scoring the questions, and what it said last."""

    name: str
    members: int
    score: Callable[[int | None], "Scores"]
    """Of the first so many questions, or of all."""
    scores: "Scores | None" = None

    def measure(self) -> float:
        def work() -> None:
            self.scores = self.score(None)

        return seconds(work)


@dataclasses.dataclass(frozen=True)
class Scores:
    """What a side says of the questions."""

    accuracy: float
    log_probs: list[np.ndarray]
    """Of each question's candidates, normalised over them; of the ensemble's mean, where there are several members."""

    def differing(self, other: "Scores") -> int:
        """How many questions the two answer differently."""
        return sum(int(a.argmax() != b.argmax()) for a, b in zip(self.log_probs, other.log_probs, strict=True))

    def difference(self, other: "Scores") -> float:
        """The largest difference of a candidate's log-probability, in nats."""
        return max(float(abs(a - b).max()) for a, b in zip(self.log_probs, other.log_probs, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", help="a local mirror of the question sets; default: KVORUM_DATA, or the hub")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--questions", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batch-size", type=int, nargs="*", default=[16], help="of the harness; each is a side")
    parser.add_argument("--token-budget", type=int, nargs="*", default=[0], help="of kvorum, 0 its own; each is a side")
    parser.add_argument("--members", type=int, nargs="*", default=[1, 5], help="of kvorum; each is a side")
    parser.add_argument("--compile", nargs="*", choices=["auto", "on", "off"], default=["auto"], help="each is a side")
    parser.add_argument("--threads", type=int, help="of torch; default: torch's own")
    parser.add_argument("--json", type=Path, help="write all that was measured to this file")
    asked = parser.parse_args()
    if asked.threads:
        torch.set_num_threads(asked.threads)
    task = kvorum.load_task(TASK, data_root=asked.data_root)
    base = load_base(asked.model)
    task = dataclasses.replace(task, test=task.test[: asked.questions])
    sides = [harness(base, task, size) for size in asked.batch_size]
    sides += [
        ours(base, task, members, budget or None, compile)
        for budget in asked.token_budget
        for compile in asked.compile
        for members in asked.members
    ]
    rows = compare(sides, len(task.test), asked.repeats)
    shown = [{name: value for name, value in row.items() if name != "seconds"} for row in rows]
    print(table(shown, f"{TASK} by text, {len(task.test)} questions, {asked.model}: medians of {asked.repeats} rounds"))
    if asked.json:
        facts = {"lm_eval": version("lm-eval"), "model": asked.model, "questions": len(task.test)}
        write_json(asked.json, rows, **facts)


def compare(sides: Sequence[Side], questions: int, repeats: int) -> list[dict[str, Any]]:
    """A row a side: its speed, the first side's speed taken as one, and whether it answers as the first side does."""
    for side in sides:
        side.score(8)  # first calls pay for what later ones find there, such as a compiled layer
    measured = turns({side.name: side.measure for side in sides}, repeats)
    reference = sides[0]
    rows = []
    for side in sides:
        assert side.scores is not None and reference.scores is not None
        ratio = median(ratios(measured[reference.name], measured[side.name]))
        same_model = side is not reference and side.members == 1
        rows.append(
            {
                "side": side.name,
                "questions/s": questions / median(measured[side.name]),
                "spread": spread(measured[side.name]),
                "ratio": ratio,
                "ratio a member": side.members * ratio,
                "accuracy": f"{side.scores.accuracy:.4f}",
                "differing answers": side.scores.differing(reference.scores) if same_model else None,
                "largest difference, nats": f"{side.scores.difference(reference.scores):.1e}" if same_model else None,
                "seconds": measured[side.name],
            }
        )
    return rows


def ours(
    base: BaseModel, task: kvorum.Task, members: int, token_budget: int | None = None, compile: str = "auto"
) -> Side:
    posterior = kvorum.fit(
        base, task, epochs=0, members=members, token_budget=token_budget, compile=compile, **ADAPTERS
    )
    if members > 1:
        generator = torch.Generator().manual_seed(0)
        drawn = {
            target: torch.empty(b.shape).normal_(std=B_STD, generator=generator).to(b)
            for target, b in posterior.stack.b.items()
        }
        posterior = dataclasses.replace(posterior, stack=dataclasses.replace(posterior.stack, b=drawn))

    def score(limit: int | None) -> Scores:
        predictions = posterior.predict(task, limit=limit)
        mean = predictions.probs.mean(0)
        return Scores(
            accuracy=predictions.accuracy(),
            log_probs=[np.log(row[: len(c)]) for row, c in zip(mean, predictions.choices, strict=True)],
        )

    settings = [f"token budget {token_budget}"] * bool(token_budget) + [f"compile {compile}"] * (compile != "auto")
    name = f"kvorum, {members} member{'s' if members > 1 else ''}"
    return Side(", ".join([name, *settings]), members, score)


def harness(base: BaseModel, task: kvorum.Task, batch_size: int) -> Side:
    # A tokenizer of its own, since the harness sets a padding token in it.
    model = HFLM(pretrained=base.model, tokenizer=copy.deepcopy(base.tokenizer), batch_size=batch_size)
    theirs = harness_task(task.test)

    def score(limit: int | None) -> Scores:
        result: Any = lm_eval.evaluate(model, {TASK: theirs}, limit=limit, bootstrap_iters=0)
        samples = sorted(result["samples"][TASK], key=lambda sample: sample["doc_id"])
        sums = [np.array([log_likelihood for log_likelihood, _ in one["filtered_resps"]]) for one in samples]
        return Scores(
            accuracy=result["results"][TASK]["acc,none"],
            log_probs=[one - np.logaddexp.reduce(one) for one in sums],
        )

    return Side(f"lm-evaluation-harness, batches of {batch_size}", 1, score)


def harness_task(questions: Sequence[kvorum.Question]) -> ConfigurableTask:
    """The harness's own task, over given questions instead of those on the hub."""
    own = yaml.safe_load((Path(lm_eval.__file__).parent / "tasks" / "arc" / f"{TASK}.yaml").read_text("utf-8"))
    rows = [
        {
            "question": q.question,
            "choices": {"text": list(q.choices), "label": list(string.ascii_uppercase[: len(q.choices)])},
            "answerKey": "" if q.answer is None else string.ascii_uppercase[q.answer],
        }
        for q in questions
    ]
    given = {
        "custom_dataset": lambda **_: {own["test_split"]: datasets.Dataset.from_list(rows)},
        "training_split": None,
        "validation_split": None,
        "num_fewshot": 0,
    }
    return ConfigurableTask(config={k: v for k, v in own.items() if k != "tag"} | given)


if __name__ == "__main__":
    main()
