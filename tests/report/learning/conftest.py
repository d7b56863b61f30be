"""Experiments on disk with made-up predictions: no model has seen any of it."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from kvorum.active.config import learn_config
from kvorum.active.records import CONFIG, START, Added, Learned, PartState, Record
from kvorum.files import sha256
from kvorum.predictions import Predictions

HOSTILE_PART = '<b onclick=x>&"$x$ part'
HOSTILE_SUBJECT = "<script>window.hacked = 1</script> $\\frac{a}{b}$ {{ 7 * 7 }} Übergröße 日本語"
TEST_QUESTIONS = 200


def scored(task: str, accuracy: float, *, sure: float = 0.8, apart: float = 0.1, questions: int = TEST_QUESTIONS):
    """Two members that answer this share of the questions rightly, by `sure`, a little `apart` from each other."""
    right = round(accuracy * questions)
    on_first = np.where(np.arange(questions) < right, sure, 1 - sure)
    probs = np.stack([np.stack([p, 1 - p], axis=1) for p in (on_first + apart, on_first - apart)])
    return Predictions(
        probs=probs,
        rest=np.zeros((2, questions)),
        answers=np.zeros(questions, np.int64),
        ids=tuple(f"{task}/{row}" for row in range(questions)),
        subjects=("",) * questions,
        questions=tuple(f"Question {row}?" for row in range(questions)),
        choices=(("yes", "no"),) * questions,
        facts={"task": task},
    )


def question(part: str, number: Any, **given: Any) -> Added:
    """A chosen question."""
    own = {"id": f"{part}/{number}", "part": part, "subject": "", "score": 0.5, "entropy": 0.6, "repeats": False}
    return Added(**(own | {"mutual_information": 0.2} | given))


Accuracy = Callable[[str, int, int], float]


def make(
    folder: Path,
    accuracy: Accuracy | Mapping[str, Sequence[Sequence[float]]],
    *,
    done: Mapping[str, int] | None = None,
    added: Callable[[str, int, int], list[Added]] | None = None,
    states: Callable[[str, int, int], list[PartState]] | None = None,
    apart: Callable[[str, int, int], float] = lambda name, number, seed: 0.1,
    sure: float = 0.8,
    facts: Mapping[str, Any] | None = None,
    **config: Any,
) -> Learned:
    """An experiment in which a function's accuracy at a round is given by seed and round, for every test task.

    `done` are the rounds that a function has done, where that is not all of them.
    """
    settings = {
        "out": str(folder),
        "settings": {"model": "smollm2-135m"},
        "pool": [{"task": "facts_capitals"}],
        "test": ["facts_capitals"],
        "acquisitions": ["random", "mutual_information"],
        "initial": 20,
        "batch": 20,
        "rounds": 3,
        "seeds": [0, 1, 2],
        "members": 2,
    } | config
    folder.mkdir(parents=True)
    (folder / CONFIG).write_text(yaml.safe_dump(settings | {"facts": dict(facts or {})}), encoding="utf-8")
    learned = Learned(folder, learn_config(settings, where="test"))
    at: Accuracy = accuracy if callable(accuracy) else lambda name, number, seed: accuracy[name][seed][number]
    asked = learned.config
    first = next(iter(learned.parts))
    for name, seed in itertools.product(asked.acquisitions, asked.seeds):
        for number in range((done or {}).get(name, asked.rounds) + 1):
            if number == 0 and learned.record_file(name, 0, seed).exists():
                continue
            learned.folder(name, number).mkdir(parents=True, exist_ok=True)
            files = []
            for task in learned.tests:
                files.append(learned.test_file(name, number, seed, task))
                made = scored(task, at(name, number, seed), apart=apart(name, number, seed), sure=sure)
                made.save(files[-1])
            start = [question(first, f"start-{one}", score=None, entropy=None, mutual_information=None) for one in "ab"]
            learned.save(
                Record(
                    acquisition=name if number else START,
                    round=number,
                    seed=seed,
                    labels=asked.initial + number * asked.batch,
                    added=start if not number else (added or _added(first))(name, number, seed),
                    pool=(states or _states(list(learned.parts)))(name if number else START, number, seed),
                    files={file.name: sha256(file) for file in files},
                )
            )
    return Learned.open(folder)


def _added(part: str) -> Callable[[str, int, int], list[Added]]:
    return lambda name, number, seed: [question(part, f"{name}-{number}-{seed}-{place}") for place in range(4)]


def _states(parts: Sequence[str]) -> Callable[[str, int, int], list[PartState]]:
    return lambda name, number, seed: [
        PartState(part=part, questions=200 - 10 * number, entropy=0.7 - 0.05 * number, mutual_information=0.1)
        for part in parts
    ]


NAMES = ["random", "entropy", "mutual_information", "batch_bald", "k_centre"]


def realistic(folder: Path, **config: Any) -> Learned:
    """Five functions, three seeds, eight rounds, two test tasks; a third of the pool is noise, names have ill will."""
    parts = [{"task": "facts_capitals"}, {"task": "facts_elements", "limit": 150}]
    parts.append({"task": HOSTILE_PART, "limit": 120, "labels": "random"})
    gain = {"random": 1.0, "entropy": 0.75, "mutual_information": 1.7, "batch_bald": 1.5, "k_centre": 1.05}
    lure = {"random": 0.3, "entropy": 0.62, "mutual_information": 0.12, "batch_bald": 0.15, "k_centre": 0.3}
    drift = {"random": 0.05, "entropy": 0.09, "mutual_information": 0.1, "batch_bald": 0.1, "k_centre": 0.06}

    def noise(name: str, number: int, seed: int, of: int = 0) -> np.random.Generator:
        return np.random.default_rng((NAMES.index(name) if number else 0, number, seed, of))

    def accuracy(name: str, number: int, seed: int) -> float:
        risen = 0.32 * (1 - np.exp(-0.28 * gain[name] * number))
        return float(0.48 + risen + noise(name, number, seed).normal(0, 0.012) + 0.01 * seed)

    def added(name: str, number: int, seed: int) -> list[Added]:
        drawn = noise(name, number, seed, 1)
        shares = [0.7 * (1 - lure[name]), 0.3 * (1 - lure[name]), lure[name]]
        chosen = drawn.choice(3, size=20, p=shares)
        numbers = drawn.choice(120, size=20, replace=False)
        wanted = 0.0 if name == "random" else 0.25
        return [
            question(
                list(map(lambda one: one["task"], parts))[part],
                int(place),
                subject=(HOSTILE_SUBJECT, "geography", "chemistry of the rarer elements", "history", "")[place % 5],
                entropy=float(0.9 + wanted + drawn.normal(0, 0.05)),
                mutual_information=float(0.1 + wanted / 2 + abs(drawn.normal(0, 0.02))),
                repeats=bool(drawn.random() < 0.04),
            )
            for part, place in zip(chosen, numbers, strict=True)
        ]

    def states(name: str, number: int, seed: int) -> list[PartState]:
        drawn = noise(name if name != START else "random", number, seed, 2)
        fall = np.exp(-drift.get(name, 0) * number * np.array([1.5, 1.0, 0.1]))
        doubts = np.array([0.18, 0.14, 0.25]) * fall + drawn.normal(0, 0.004, size=3)
        entropies = np.array([0.9, 0.8, 1.3]) * np.sqrt(fall) + drawn.normal(0, 0.01, size=3)
        left = np.array([240, 140, 110]) - 6 * number
        return [
            PartState(
                part=each["task"],
                questions=int(left[place]),
                entropy=float(entropies[place]),
                mutual_information=float(doubts[place]),
            )
            for place, each in enumerate(parts)
        ]

    return make(
        folder,
        accuracy,
        added=added,
        states=states,
        apart=lambda name, number, seed: float(0.18 * np.exp(-drift[name] * number) + 0.002 * seed),
        **{
            "pool": parts,
            "test": ["facts_capitals", "facts_elements"],
            "acquisitions": NAMES,
            "rounds": 8,
            "facts": {"kvorum": "0.9", "torch": "2.13.0", "base_revision": "0123456789abcdef0123"},
        }
        | config,
    )


@pytest.fixture(scope="session")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Learned:
    return realistic(tmp_path_factory.mktemp("learned") / "experiment")
