"""What an experiment would do, in words and numbers, without its base model."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kvorum.active.config import LearnConfig, name_of
from kvorum.active.plan import read_experiment, rounds_in
from kvorum.active.records import CONFIG, Learned


def described(config: LearnConfig) -> dict[str, Any]:
    """The pool, the test, the rounds and how many of them are done.

    Raises `KvorumError` for tasks that cannot be read or used.
    """
    pool, tests = read_experiment(config)
    learned = Learned(Path(config.out), config) if (Path(config.out) / CONFIG).is_file() else None
    rounds = rounds_in(config, len(pool))
    return {
        "out": config.out,
        "pool": pool.sizes,
        "test": {task.name: len(task.test) for task in tests},
        "labels": [min(len(pool), config.initial + number * config.batch) for number in range(rounds + 1)],
        "members": config.members * len(config.seeds),
        "done": {name: max(0, learned.rounds(name) - 1) if learned else 0 for name in config.acquisitions},
        "rounds": rounds,
    }


def describe(config: LearnConfig) -> Iterator[str]:
    """The same, a line each."""
    found = described(config)
    labels = {name_of(part.task): part.labels for part in config.pool}
    yield "pool: " + ", ".join(
        f"{number:,} of {name}{' with random labels' if labels[name] == 'random' else ''}"
        for name, number in found["pool"].items()
    )
    yield "test: " + ", ".join(f"{number:,} of {name}" for name, number in found["test"].items())
    yield f"labels of a seed: {' '.join(map(str, found['labels']))}"
    yield (
        f"members at once: {found['members']}, of {len(config.seeds)} seeds; each fit starts from the "
        f"{'untouched model' if config.start == 'prior' else 'round before'}"
    )
    for name, done in found["done"].items():
        yield f"{name}: {done} of {found['rounds']} rounds done"
