"""Run directories with made-up predictions: learning in domain, disagreement out of domain, hostile texts."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest

from kvorum.config import FitConfig
from kvorum.predictions import Predictions
from kvorum.run import Run

HOSTILE = (
    "<script>window.hacked = 1</script></script><!-- \"quoted\" 'single' & $\\frac{a}{b}$\n"
    "<img src=x onerror=window.hacked=1> Übergröße 日本語 \u2028 ${x} {{ 7 * 7 }}"
)
HOSTILE_TASK = 'few <b>&"$x$'
Maker = Callable[..., Run]


def predictions(
    task: str,
    epoch: int,
    *,
    questions: int,
    members: Iterable[int] = range(5),
    skill: float = 1.0,
    spread: float = 0.1,
    rest: float = 0.0,
    unknown: int = 0,
    trained_on: int = 0,
    diverged: dict[str, str] | None = None,
) -> Predictions:
    """Members that start out equal, learn the answers at a pace and drift apart at another."""
    numbers = list(members)
    random = np.random.default_rng((len(task), questions))
    candidates = random.integers(3, 6, size=questions)
    answers = random.integers(0, candidates)
    base = random.normal(size=(questions, 5))
    base[np.arange(questions), answers] += skill * epoch * random.uniform(0, 2, size=questions)
    drift = [np.random.default_rng(number).normal(size=base.shape) for number in numbers]
    logits = base + spread * epoch * np.stack(drift)
    logits[:, np.arange(5) >= candidates[:, None]] = -np.inf
    probs = np.exp(logits)
    probs /= probs.sum(axis=2, keepdims=True) / (1 - rest)
    answers = answers.astype(np.int64)
    answers[:unknown] = -1
    texts = [
        f"Which of these is number {row} of the {'river' if row % 3 else 'mountain'}s?" for row in range(questions)
    ]
    choices = [tuple(f"choice {letter}{row}" for letter in "abcde"[: candidates[row]]) for row in range(questions)]
    texts[1], choices[1] = HOSTILE, (HOSTILE, *choices[1][1:])
    return Predictions(
        probs=probs,
        rest=np.full(probs.shape[:2], rest),
        answers=answers,
        ids=tuple(f"{task}/{row}" for row in range(questions)),
        subjects=tuple("geography" if row % 2 else "" for row in range(questions)),
        questions=tuple(texts),
        choices=tuple(choices),
        facts={
            "task": task,
            "epoch": epoch,
            "members": numbers,
            "diverged": diverged or {},
            "trained_on": trained_on > 0,
            "trained_on_questions": trained_on,
        },
    )


TASKS = {
    "facts_capitals": {"questions": 80, "skill": 1.0, "spread": 0.1},
    "facts_elements": {"questions": 60, "skill": 0.4, "spread": 0.4, "rest": 0.05},
    HOSTILE_TASK: {"questions": 6, "skill": 0.1, "spread": 0.3, "unknown": 1, "trained_on": 4},
}


def make(folder: Path, tasks: dict[str, dict], epochs: Iterable[int] = range(4), fitted: str = "facts_capitals") -> Run:
    epochs = list(epochs)
    members = max((len(list(settings.get("members", range(5)))) for settings in tasks.values()), default=5)
    config = FitConfig(
        model="smollm2-135m", task=fitted, evaluate=tuple(tasks) or (fitted,), epochs=max(epochs), members=members
    )
    facts = {
        "task": fitted,
        "evaluation_tasks": list(tasks),
        "torch": "2.13.0",
        "train_questions": 1600,
        "sizes": {"of the base": 135_000_000, "whole": [True, None]},
        "prompt_template": f"Question: {{{{ question }}}}\nAnswer:{HOSTILE}",
    }
    run = Run(folder, config, facts)
    run.save_config()
    for epoch in epochs:
        run.epoch_folder(epoch).mkdir(parents=True)
        run.adapters_file(epoch).touch()
        run.keep(run.adapters_file(epoch))
        for task, settings in tasks.items():
            run.save_predictions(epoch, task, predictions(task, epoch, **settings))
    return Run.open(folder)


@pytest.fixture
def make_run(tmp_path: Path) -> Maker:
    return lambda tasks, **settings: make(tmp_path / "run", tasks, **settings)


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Three tasks, the last of them small, partly unlabelled, fitted on itself and named with ill will."""
    return make(tmp_path_factory.mktemp("report") / "run", TASKS)


@pytest.fixture(scope="session")
def page(run: Run) -> Path:
    from kvorum.report import write

    return write(run)
