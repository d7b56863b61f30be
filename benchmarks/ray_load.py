"""Hundreds of small groups on a Ray cluster of this machine: what giving them out costs, and that nothing is lost.

    python benchmarks/ray_load.py
    python benchmarks/ray_load.py --groups 24 --nodes 2 --json ray_load.json

Every group is one member of a tiny random model, fitted for an epoch of a few questions, so that nearly all of the time
is what each group costs whatever its size: being handed out, loaded, saved and reported. Needs kvorum[ray] and psutil.
"""

import argparse
import contextlib
import io
import itertools
import json
import logging
import os
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import tokenizers
import torch
import transformers
from measure import median, table, write_json
from rich.console import Console

from kvorum.adapters import AdapterStack
from kvorum.cluster import crew
from kvorum.cluster.fit import Asked, Runner, ask, fit_in_groups, on_ray
from kvorum.cluster.options import RayOptions
from kvorum.cluster.part import Part
from kvorum.cluster.ray_cluster import connected
from kvorum.cluster.view import View
from kvorum.cluster.worker import Left, Worker
from kvorum.config import fit_config
from kvorum.run import Run

TIMES = "times"
"""The folder beside the run in which workers note when they were busy."""


class Timed(Worker):
    """A worker that notes when it begins and ends a piece of work."""

    def fit(self, work: str, part: Part) -> Left | None:
        begin = time.time()
        left = Worker.fit(self, work, part)
        assert part.run.path is not None
        noted = {"work": work, "pid": os.getpid(), "begin": begin, "end": time.time()}
        (part.run.path.parent / TIMES / f"{part.storage.name}.json").write_text(json.dumps(noted))
        return left


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", type=int, default=200)
    parser.add_argument("--nodes", type=int, default=4, help="of one CPU core each, as Ray counts them")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    logging.getLogger("kvorum").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="ray-load-") as scratch, cluster(asked.nodes) as address:
        measured = load(address, Path(scratch), asked.groups)
    rows = [{"what": what, "value": value} for what, value in measured.items()]
    print(table(rows, f"{asked.groups} groups of one member on {asked.nodes} nodes of one core"))
    if asked.json:
        write_json(asked.json, rows, groups=asked.groups, nodes=asked.nodes, ray=version("ray"))


@contextlib.contextmanager
def cluster(nodes: int) -> Iterator[str]:
    """The address of a cluster on this machine, of a head without room for workers and some nodes of one core."""
    from ray.cluster_utils import Cluster

    small: dict[str, Any] = {"object_store_memory": 80 * 2**20}
    made = Cluster(initialize_head=True, head_node_args=small | {"num_cpus": 0, "include_dashboard": False})
    for _ in range(nodes):
        made.add_node(num_cpus=1, wait=False, **small)
    made.wait_for_nodes()
    try:
        yield str(made.address)
    finally:
        made.shutdown()


def load(address: str, folder: Path, groups: int) -> dict[str, float]:
    """Fit so many groups of one member, check that all is there, and say what it took."""
    spread, out = prepared(folder, groups), folder / "run"
    (folder / TIMES).mkdir()
    took: dict[str, float] = {}
    before = crew.Worker
    crew.Worker = Timed
    try:
        with connected(RayOptions(ray=address)) as found, sampled() as resident:
            slots = found.slots
            runner = on_ray(found, View(Console(file=io.StringIO())))
            begin = time.perf_counter()
            fit_in_groups(spread, timed(runner, took), per_worker=1, slots=slots)
            took["whole"] = time.perf_counter() - begin
    finally:
        crew.Worker = before
    noted = [json.loads(file.read_text()) for file in (folder / TIMES).iterdir()]
    refuse_loss(out, groups, noted)
    busy = sum(one["end"] - one["begin"] for one in noted)
    span = max(one["end"] for one in noted) - min(one["begin"] for one in noted)
    return {
        "whole, s": took["whole"],
        "of it handing out and fitting, s": took["fitting"],
        "of it from the first group's begin to the last one's end, s": span,
        "of it joining, s": took["whole"] - took["fitting"],
        "a group's own time on its worker, median, s": median([one["end"] - one["begin"] for one in noted]),
        "workers busy, of all their time in between": busy / (slots * span),
        "overhead a group: (whole - busy / slots) / groups, s": (took["whole"] - busy / slots) / groups,
        "of it once the workers run: (span - busy / slots) / groups, s": (span - busy / slots) / groups,
        "a worker's gap between two groups, median, s": median(gaps(noted)),
        "its largest, s": max(gaps(noted)),
        "peak memory of the driver, MiB": max(resident) / 2**20,
        "of it before the first group, MiB": resident[0] / 2**20,
        "processes that worked": len({one["pid"] for one in noted}),
    }


def timed(runner: Runner, took: dict[str, float]) -> Runner:
    """The same runner, with the seconds that it took."""

    def run(parts: Mapping[str, Part], *more: Any) -> Any:
        begin = time.perf_counter()
        failed = runner(parts, *more)
        took["fitting"] = time.perf_counter() - begin
        return failed

    return run


def gaps(noted: list[dict[str, Any]]) -> list[float]:
    """Seconds between the end of a group and the begin of the next on the same worker."""
    found = []
    for pid in {one["pid"] for one in noted}:
        own = sorted((one["begin"], one["end"]) for one in noted if one["pid"] == pid)
        found += [after[0] - one[1] for one, after in itertools.pairwise(own)]
    return found or [0.0]


def refuse_loss(out: Path, groups: int, noted: list[dict[str, Any]]) -> None:
    """Fail where anything of the fit is missing, or left lying about."""
    run = Run.open(out)
    assert len(noted) == groups, f"{len(noted)} groups were fitted, {groups} were asked for"
    assert run.damage() == [] and run.unlisted() == [] and run.epochs == (0, 1)
    for epoch in run.epochs:
        stack = AdapterStack.load(run.checked(run.adapters_file(epoch)))
        predictions = run.predictions(epoch, "few")
        assert stack.members == tuple(range(groups)) == tuple(predictions.facts["members"]) and not stack.diverged
        assert predictions.members == groups and len(predictions) == 8
    assert all(len(line["loss"]) == groups and None not in line["loss"] for line in run.log) and len(run.log) == 2
    assert not (out / "groups").exists() and not list(out.rglob("*.tmp"))


@contextlib.contextmanager
def sampled(every: float = 0.2) -> Iterator[list[int]]:
    """Bytes that this process holds in memory, now and again while a `with` block runs."""
    this, over = psutil.Process(), threading.Event()
    found = [this.memory_info().rss]

    def look() -> None:
        while not over.wait(every):
            found.append(this.memory_info().rss)

    watch = threading.Thread(target=look, daemon=True)
    watch.start()
    try:
        yield found
    finally:
        over.set()
        watch.join()


def prepared(folder: Path, groups: int) -> Asked:
    """A fit of as many members on eight questions, of a tiny random Llama that reads bytes."""
    letters = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<s>": 0} | {letter: i for i, letter in enumerate(letters, start=1)}
    made = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocabulary, merges=[]))
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    transformers.PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>").save_pretrained(folder / "model")
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = transformers.LlamaConfig(vocab_size=257, max_position_embeddings=128, **shape)
    transformers.LlamaForCausalLM(config).save_pretrained(folder / "model")
    rows = [{"id": f"q{i}", "question": f"{i}?", "choices": ["yes", "no"], "answer": i % 2} for i in range(8)]
    (folder / "few.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = {
        "model": str(folder / "model"),
        "task": str(folder / "few.jsonl"),
        "out": str(folder / "run"),
        "members": groups,
        "rank": 2,
        "epochs": 1,
        "batch_size": 4,
        "device": "cpu",
    }
    return ask(fit_config(settings, where="ray_load"))


if __name__ == "__main__":
    main()
