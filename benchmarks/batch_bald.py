"""BatchBALD over 20,000 questions, 20 members and 5 candidates: how long a batch of 50 takes, and how good it is.

    python benchmarks/batch_bald.py --rounds 3 --json FILE

The pools are noise, in which some fifty questions at a time ask nearly the same: in one the members differ little, so
that 50 answers do not tell all that they can, in the other much, so that ten do. Every batch is chosen by a process of
its own, whose peak memory is its resident memory's, the pool included. The figure asked for is under 60 s and under
2 GB on 2 cores; CPU seconds say what the work takes on a machine that others use too.

Beyond a few questions the gains are means over drawn answers. How good the batch is that they lead to: what its answers
tell about the member, ln M - E[H(member | answers)], over answers drawn anew, beside that of the batch chosen with
--finer times as many chains, and of the batches of the highest mutual information and by lot. The gains of a batch add
up to what it tells but for the draws.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from kvorum.acquisition import ACQUISITIONS, Pool
from kvorum.acquisition.asked import CHAINS
from kvorum.acquisition.batch_bald import batch_bald
from kvorum.uncertainty.entropy import entropy

SPREADS = {"differ little": 0.5, "differ much": 3.0}
"""Of the members' logits, at most; the questions' own have 1."""
ALIKE = 50
"""Questions that ask nearly the same."""
DRAWN = 100_000
"""Answers to a batch by which it is judged."""


def main() -> None:
    options = _options()
    if options.choose:
        print(json.dumps(_choose(options)))
        return
    rows = [measured(members, options) for members in SPREADS]
    from measure import table, write_json

    size = f"{options.questions:,} questions x {options.members} members x {options.candidates} candidates"
    times = [row["time"] for row in rows]
    print(table(times, f"A batch of {options.batch} of {size}, {options.chains} chains"), end="\n\n")
    print(table([row["quality"] for row in rows], "What the answers to the batch tell about the member, nats"))
    if options.json:
        asked = {name: value for name, value in vars(options).items() if name not in {"json", "choose", "pool"}}
        write_json(options.json, rows, numpy=np.__version__, **asked)


def noise_pool(spread: float, *, questions: int, members: int, candidates: int) -> Pool:
    """Members of one opinion on most questions; what they differ in is nearly the same on questions that are alike."""
    random = np.random.default_rng(0)
    groups = -(-questions // ALIKE)
    logits = random.normal(size=(groups, candidates))
    apart = spread * random.random((groups, 1)) ** 2
    shared = logits + apart * random.normal(size=(members, groups, candidates))
    own = 0.2 * random.normal(size=(questions, candidates))
    own = own + 0.1 * np.repeat(apart, ALIKE, axis=0)[:questions] * random.normal(size=(members, questions, candidates))
    probs = np.exp(np.repeat(shared, ALIKE, axis=1)[:, :questions] + own)
    probs /= probs.sum(axis=2, keepdims=True)
    return Pool(probs=probs, rest=np.zeros(probs.shape[:2]))


def measured(members: str, options: argparse.Namespace) -> dict[str, Any]:
    """Time and memory of the rounds, and how good the batch is, on one pool."""
    rounds = [in_a_process(members, options, options.chains, seed=turn) for turn in range(options.rounds)]
    finer = in_a_process(members, options, options.finer * options.chains, seed=options.rounds)
    pool = _pool(members, options)
    batches = {"batch": rounds[0]["chosen"], "finer": finer["chosen"]}
    for name in ("mutual_information", "random"):
        batches[name] = ACQUISITIONS[name](pool, options.batch).chosen.tolist()
    told = {name: information(pool, batch) for name, batch in batches.items()}
    seconds = [each["seconds"] for each in rounds]
    times = {
        "members": members,
        "least s": min(seconds),
        "median s": float(np.median(seconds)),
        "worst s": max(seconds),
        "CPU s": float(np.median([each["cpu_seconds"] for each in rounds])),
        "peak MB": max(each["peak_mb"] for each in rounds),
        f"CPU s, {options.finer} x chains": finer["cpu_seconds"],
    }
    quality = {
        "members": members,
        "all there is": float(np.log(options.members)),
        "batch": told["batch"][0],
        f"batch, {options.finer} x chains": told["finer"][0],
        "they differ by, 1/1000": 1000 * (told["finer"][0] - told["batch"][0]),
        "give or take, 1/1000": 1000 * float(np.hypot(told["batch"][1], told["finer"][1])),
        "sum of its gains": float(np.mean([each["gains"] for each in rounds])),
        f"sum, {options.finer} x chains": finer["gains"],
        "mutual information": told["mutual_information"][0],
        "random": told["random"][0],
        "questions in common": len(set(batches["batch"]) & set(batches["finer"])),
    }
    return {"time": times, "quality": quality, "rounds": rounds, "finer": finer, "told": told}


def information(pool: Pool, batch: list[int], drawn: int = DRAWN) -> tuple[float, float]:
    """I(answers to the batch; member) and its standard error, in nats, from answers that each member draws."""
    random = np.random.default_rng(10**6)
    probs = pool.probs[:, batch]
    members = len(probs)
    left = []
    for own in range(members):
        logs = np.zeros((drawn // members, members))
        for question in range(len(batch)):
            answers = random.choice(probs.shape[2], size=len(logs), p=probs[own, question])
            logs += np.log(probs[:, question, answers].T)
        weights = np.exp(logs - logs.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        left.append(entropy(weights, np.zeros(len(weights))))
    deviation = float(np.sqrt(np.mean([values.var(ddof=1) for values in left])))
    return float(np.log(members) - np.mean(left)), deviation / float(np.sqrt(np.size(left)))


def in_a_process(members: str, options: argparse.Namespace, chains: int, *, seed: int) -> dict[str, Any]:
    """A batch, how long it took and the peak memory, in a process of its own."""
    command = [sys.executable, __file__, "--choose", "--pool", members, "--chains", str(chains), "--seed", str(seed)]
    for name in ("questions", "members", "candidates", "batch"):
        command += [f"--{name}", str(getattr(options, name))]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def _choose(options: argparse.Namespace) -> dict[str, Any]:
    pool = _pool(options.pool, options)
    begin, busy = time.perf_counter(), time.process_time()
    found = batch_bald(pool, options.batch, seed=options.seed, chains=options.chains)
    return {
        "seconds": time.perf_counter() - begin,
        "cpu_seconds": time.process_time() - busy,
        "peak_mb": _peak_mb(),
        "gains": float(found.scores[found.chosen].sum()),
        "chosen": found.chosen.tolist(),
    }


def _pool(members: str, options: argparse.Namespace) -> Pool:
    shape = {"questions": options.questions, "members": options.members, "candidates": options.candidates}
    return noise_pool(SPREADS[members], **shape)


def _peak_mb() -> float:
    # Not getrusage's, which counts what the process that started this one held.
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e6


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=20_000)
    parser.add_argument("--members", type=int, default=20)
    parser.add_argument("--candidates", type=int, default=5)
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--chains", type=int, default=CHAINS)
    parser.add_argument("--finer", type=int, default=10, help="times as many chains for the batch compared with")
    parser.add_argument("--rounds", type=int, default=3, help="times that a batch is chosen, each with another seed")
    parser.add_argument("--json", type=Path, help="file to write the measurements to")
    parser.add_argument("--choose", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--pool", choices=tuple(SPREADS), help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
