"""The harness and kvorum, asked the same, answer alike: what makes comparing their speeds mean something."""

import dataclasses
import importlib
from pathlib import Path
from types import ModuleType

import pytest

import kvorum
from kvorum.engine import load_base

pytest.importorskip("lm_eval", reason="lm-eval is not installed: pip install 'kvorum[eval]'")
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def score_vs_lm_eval(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("score_vs_lm_eval")


def test_both_sides_answer_every_question_alike(score_vs_lm_eval: ModuleType, tiny_model: str) -> None:
    base = load_base(tiny_model)
    task = kvorum.load_task("facts_capitals")
    task = dataclasses.replace(task, test=task.test[:12])
    sides = [score_vs_lm_eval.harness(base, task, 4)]
    sides += [score_vs_lm_eval.ours(base, task, members, 64) for members in (1, 2)]
    theirs, ours, ensemble = score_vs_lm_eval.compare(sides, len(task.test), repeats=1)
    assert ours["differing answers"] == 0
    assert float(ours["largest difference, nats"]) < 1e-4
    assert ours["accuracy"] == theirs["accuracy"]
    assert theirs["ratio"] == 1
    assert ensemble["ratio a member"] == pytest.approx(2 * ensemble["ratio"])
    assert all(len(row["seconds"]) == 1 and row["questions/s"] > 0 for row in (theirs, ours, ensemble))


def test_members_differ_from_the_base_model(score_vs_lm_eval: ModuleType, tiny_model: str) -> None:
    base = load_base(tiny_model)
    task = kvorum.load_task("facts_capitals")
    one, several = (score_vs_lm_eval.ours(base, task, members).score(3) for members in (1, 2))
    assert several.difference(one) > 1e-6
