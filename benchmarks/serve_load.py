"""A server under load against the offline scorer: questions a second, time of one question, and an overload that lasts.

    python benchmarks/serve_load.py runs/cqa --task commonsense_qa
    python benchmarks/serve_load.py runs/cqa --task commonsense_qa --overload-minutes 10

The server is `kvorum serve` in a process of its own on loopback; the offline scorer and the clients are this process,
which wait for each other in turn. Every reply is held against the offline prediction. Needs kvorum[serve] and httpx.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from measure import median, spread, table, write_json

import kvorum
from kvorum.predictions import Predictions
from kvorum.tasks import EncodedQuestion, Question

ATOL = 2e-4
"""How far a probability may lie from the offline one: passes of other sizes, compiled or not, round otherwise."""


@dataclasses.dataclass(frozen=True)
class Work:
    """The questions, and what the offline scorer says of them."""

    questions: list[Question]
    encoded: list[EncodedQuestion]
    expected: Predictions

    def body(self, places: list[int]) -> dict[str, Any]:
        asked = [self.questions[place] for place in places]
        return {"questions": [{"id": q.id, "question": q.question, "choices": list(q.choices)} for q in asked]}

    def wrong(self, places: list[int], answers: list[dict[str, Any]]) -> int:
        """How many answers are not the offline ones."""
        found = 0
        for place, answer in zip(places, answers, strict=True):
            own = np.array([member["probabilities"] for member in answer["members"]])
            there = self.expected.probs[:, place, : own.shape[1]]
            found += answer["id"] != self.questions[place].id or not np.allclose(own, there, atol=ATOL)
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--task", required=True, help="of those that the run has scored")
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--alone", type=int, default=40, help="questions that one client asks, one after the other")
    parser.add_argument("--compile", choices=["on", "off"], default="on", help="of both sides")
    parser.add_argument("--overload-minutes", type=float, default=0.0)
    parser.add_argument("--json", type=Path, help="write all that was measured to this file")
    asked = parser.parse_args()
    posterior = dataclasses.replace(kvorum.load(asked.run), compile=asked.compile)
    predictions = kvorum.Run.open(asked.run).predictions(posterior.facts["epoch"], asked.task)
    # Some published questions have two equal choices, which the server takes from nobody.
    distinct = [row for row, choices in enumerate(predictions.choices) if len(set(choices)) == len(choices)]
    rows = distinct[: asked.questions]
    questions = [
        Question(id=predictions.ids[row], question=predictions.questions[row], choices=predictions.choices[row])
        for row in rows
    ]
    encoded = posterior.encode(questions)
    rows_of_json: list[dict[str, Any]] = []
    with posterior.scoring(encoded, endless=True) as scorer:
        work = Work(questions, encoded, posterior.predictions(questions, scorer(encoded)))
        with serving(asked.run, asked.compile) as (address, child):
            offline, online, alone, one_pass = [], [], [], []
            for _ in range(asked.rounds):
                began = time.perf_counter()
                scorer(encoded)
                offline.append(len(questions) / (time.perf_counter() - began))
                online.append(asyncio.run(throughput(address, work, asked.clients)))
                with httpx.Client(base_url=address, timeout=120) as client:
                    for place in range(min(asked.alone, len(questions))):
                        began = time.perf_counter()
                        reply = client.post("/v1/answers", json=work.body([place]))
                        between = time.perf_counter()
                        scorer([encoded[place]])
                        one_pass.append(time.perf_counter() - between)
                        alone.append(between - began)
                        assert not work.wrong([place], reply.json()["answers"])
            rows_of_json = [
                {"what": "offline, questions/s", "value": median(offline), "spread": spread(offline)},
                {"what": f"{asked.clients} clients, questions/s", "value": median(online), "spread": spread(online)},
                {
                    "what": "clients / offline, each round",
                    "value": median([b / a for a, b in zip(offline, online, strict=True)]),
                    "spread": spread([b / a for a, b in zip(offline, online, strict=True)]),
                },
                {"what": "one question, p50, s", "value": median(alone), "spread": spread(alone)},
                {"what": "its forward pass, p50, s", "value": median(one_pass), "spread": spread(one_pass)},
                {
                    "what": "one question / its forward pass, p50 of the ratios",
                    "value": median([a / b for a, b in zip(alone, one_pass, strict=True)]),
                    "spread": None,
                },
            ]
            print(
                table(rows_of_json, f"{asked.task}, {len(questions)} questions, {len(posterior.stack.members)} members")
            )
        if asked.overload_minutes:
            # Another server with a short queue, so that it is full all the time.
            with serving(asked.run, asked.compile, "--queue", "64") as (address, child):
                seen = asyncio.run(overload(address, work, child.pid, asked.overload_minutes))
            print()
            print(table(seen["minutes"], f"overload of {asked.overload_minutes:g} minutes"))
            rows_of_json += seen["minutes"]
    if asked.json:
        write_json(asked.json, rows_of_json, task=asked.task, model=posterior.base.name, fastapi=version("fastapi"))


@contextlib.contextmanager
def serving(run: Path, compile: str, *options: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The address of a server that answers, and its process."""
    command = [sys.executable, "-c", "from kvorum.cli import main; main()", "serve", str(run), "--port", "0"]
    with subprocess.Popen([*command, "--compile", compile, *options], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        try:
            yield child.stdout.readline().split()[-1], child
        finally:
            child.terminate()
            assert child.wait(120) == 0


async def throughput(address: str, work: Work, clients: int) -> float:
    """Questions a second, every client asking one after the other."""
    left = iter(range(len(work.questions)))
    async with httpx.AsyncClient(base_url=address, timeout=120, limits=httpx.Limits(max_connections=clients)) as client:

        async def ask() -> None:
            for place in left:
                reply = await client.post("/v1/answers", json=work.body([place]))
                assert reply.status_code == 200, reply.text
                assert not work.wrong([place], reply.json()["answers"])

        began = time.perf_counter()
        await asyncio.gather(*(ask() for _ in range(clients)))
        return len(work.questions) / (time.perf_counter() - began)


async def overload(address: str, work: Work, pid: int, minutes: float) -> dict[str, Any]:
    """Forty clients with up to eight questions each, who ask again at once; a row a minute."""
    counted: Counter[str] = Counter()
    found: list[dict[str, Any]] = []
    ends = time.monotonic() + 60 * minutes
    async with httpx.AsyncClient(base_url=address, timeout=300, limits=httpx.Limits(max_connections=40)) as client:

        async def ask(seed: int) -> None:
            draw = random.Random(seed)
            while time.monotonic() < ends:
                places = draw.sample(range(len(work.questions)), draw.randint(1, 8))
                counted["asked"] += 1
                reply = await client.post("/v1/answers", json=work.body(places))
                counted[str(reply.status_code)] += 1
                if reply.status_code == 200:
                    counted["questions"] += len(places)
                    counted["wrong"] += work.wrong(places, reply.json()["answers"])
                else:
                    await asyncio.sleep(0.2)

        async def watch() -> None:
            while time.monotonic() < ends:
                await asyncio.sleep(min(60, max(0.1, ends - time.monotonic())))
                found.append(_row(len(found) + 1, counted, pid))

        await asyncio.gather(watch(), *(ask(seed) for seed in range(40)))
    found.append(_row(len(found) + 1, counted, pid) | {"minute": "all"})
    return {"minutes": found}


def _row(minute: int, counted: Counter[str], pid: int) -> dict[str, Any]:
    answered = sum(count for name, count in counted.items() if name.isdigit())
    return {
        "minute": str(minute),
        "memory, MiB": _resident(pid),
        "asked": counted["asked"],
        "200": counted["200"],
        "429": counted["429"],
        "other replies": answered - counted["200"] - counted["429"],
        "no reply yet": counted["asked"] - answered,
        "questions": counted["questions"],
        "wrong": counted["wrong"],
    }


def _resident(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmRSS"))) // 1024


if __name__ == "__main__":
    main()
