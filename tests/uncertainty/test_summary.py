"""The table of numbers: each against an independent computation, with and without labels, and as JSON."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.stats import entropy as scipy_entropy
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score
from torchmetrics.functional.classification import multiclass_calibration_error

from kvorum.uncertainty import ece, mutual_information, predictive_entropy, separation, summarize

pytestmark = pytest.mark.filterwarnings("error")
MEMBERS, QUESTIONS, CANDIDATES = 4, 150, 5


@pytest.fixture
def answered() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Members that lean towards the answer, and give some probability to the rest."""
    rng = np.random.default_rng(0)
    answers = rng.integers(0, CANDIDATES, QUESTIONS)
    full = rng.dirichlet(np.ones(CANDIDATES + 1) * 0.6, size=(MEMBERS, QUESTIONS))
    lean = np.eye(CANDIDATES + 1)[answers] * rng.random(QUESTIONS)[:, None] ** 3
    full = (full + lean) / (1 + lean.sum(axis=-1, keepdims=True))
    return full[..., :CANDIDATES].copy(), full[..., CANDIDATES].copy(), answers


def independent_scores(full: np.ndarray, answers: np.ndarray) -> dict[str, float]:
    """Of one distribution a question, the rest as its last outcome; torchmetrics sees the candidates alone."""
    candidates = torch.tensor(full[:, :CANDIDATES])
    return {
        "accuracy": (candidates.argmax(1).numpy() == answers).mean(),
        "nll": log_loss(answers, full, labels=range(CANDIDATES + 1)),
        "brier": brier_score_loss(answers, full, labels=range(CANDIDATES + 1), scale_by_half=False),
        "ece": multiclass_calibration_error(
            candidates, torch.tensor(answers), num_classes=CANDIDATES, n_bins=10
        ).item(),
    }


def every_interval(numbers) -> list[dict]:
    if not isinstance(numbers, dict):
        return []
    if "value" in numbers:
        return [numbers]
    return [found for part in numbers.values() for found in every_interval(part)]


def test_scores_agree_with_scikit_learn_and_torchmetrics(answered):
    probs, rest, answers = answered
    full = np.concatenate([probs, rest[..., None]], axis=-1)
    found = summarize(*answered, resamples=20)
    ensemble = independent_scores(full.mean(axis=0), answers)
    members = [independent_scores(member, answers) for member in full]
    for metric, value in ensemble.items():
        assert found["ensemble"][metric]["value"] == pytest.approx(value, abs=1e-6)
        average = found["member_average"][metric]
        assert average["per_member"] == pytest.approx([member[metric] for member in members], abs=1e-6)
        assert average["value"] == pytest.approx(np.mean([member[metric] for member in members]), abs=1e-6)


def test_equal_mass_is_that_of_the_calibration_module(answered):
    probs, _, answers = answered
    found = summarize(*answered, bins=7, resamples=20)
    expected = [ece(p.max(1), p.argmax(1) == answers, bins=7, scheme="mass") for p in [probs.mean(axis=0), *probs]]
    assert found["ensemble"]["ece_mass"]["value"] == pytest.approx(expected[0])
    assert found["member_average"]["ece_mass"]["per_member"] == pytest.approx(expected[1:])


def test_uncertainties_agree_with_scipy(answered):
    probs, rest, answers = answered
    full = np.concatenate([probs, rest[..., None]], axis=-1)
    mean = full.mean(axis=0)
    right = mean[:, :CANDIDATES].argmax(axis=1) == answers
    total, expected = scipy_entropy(mean, axis=-1), scipy_entropy(full, axis=-1).mean(axis=0)
    found = summarize(*answered, resamples=20)
    for name, values in {
        "predictive_entropy": total,
        "expected_entropy": expected,
        "mutual_information": total - expected,
    }.items():
        for group, rows in {"all": right | True, "correct": right, "wrong": ~right}.items():
            assert found[name][group]["mean"]["value"] == pytest.approx(values[rows].mean(), abs=1e-9)
            assert found[name][group]["median"] == pytest.approx(np.median(values[rows]), abs=1e-9)
            assert found[name][group]["questions"] == rows.sum()
    for name, values in {"predictive_entropy": total, "mutual_information": total - expected}.items():
        assert found["wrong_auroc"][name]["value"] == pytest.approx(roc_auc_score(~right, values), abs=1e-9)


def test_it_is_json_and_every_interval_holds_its_value(answered):
    found = summarize(*answered, resamples=200)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    intervals = every_interval(found)
    assert len(intervals) == 5 + 5 + 9 + 2
    for interval in intervals:
        assert interval["low"] <= interval["value"] <= interval["high"]
        assert interval["low"] < interval["high"]


def test_the_interval_of_the_accuracy_is_as_wide_as_theory_says(answered):
    found = summarize(*answered, resamples=2000)["ensemble"]["accuracy"]
    width = 2 * 1.959964 * np.sqrt(found["value"] * (1 - found["value"]) / QUESTIONS)
    assert found["high"] - found["low"] == pytest.approx(width, rel=0.1)


def test_unlabelled_questions_count_in_the_uncertainty_of_all_alone(answered):
    probs, rest, answers = answered
    partly = np.where(np.arange(QUESTIONS) % 3 == 0, -1, answers)
    known = partly >= 0
    found = summarize(probs, rest, partly, resamples=20)
    alone = summarize(probs[:, known], rest[:, known], answers[known], resamples=20)
    everything = summarize(*answered, resamples=20)
    assert (found["questions"], found["labelled"], found["members"]) == (150, 100, 4)
    for part in ("ensemble", "member_average"):
        for metric, number in alone[part].items():
            assert found[part][metric]["value"] == pytest.approx(number["value"], abs=1e-12)
            assert found[part][metric].get("per_member") == number.get("per_member")
    for name in ("predictive_entropy", "mutual_information"):
        assert found["wrong_auroc"][name]["value"] == alone["wrong_auroc"][name]["value"]
        assert found[name]["all"]["mean"]["value"] == everything[name]["all"]["mean"]["value"]
        assert found[name]["wrong"]["median"] == alone[name]["wrong"]["median"]
    for interval in every_interval(found):
        assert interval["low"] <= interval["value"] <= interval["high"]


def test_without_any_label_the_scores_are_none_and_the_uncertainties_stay(answered):
    probs, rest, _ = answered
    found = summarize(probs, rest, np.full(QUESTIONS, -1), resamples=20)
    nothing = {"value": None, "low": None, "high": None}
    assert found["labelled"] == 0
    assert all(found["ensemble"][metric] == nothing for metric in found["ensemble"])
    assert found["member_average"]["nll"] == {**nothing, "per_member": [None] * MEMBERS}
    assert found["wrong_auroc"]["mutual_information"] == nothing
    assert found["predictive_entropy"]["correct"] == {"mean": nothing, "median": None, "questions": 0}
    assert found["predictive_entropy"]["all"]["mean"]["low"] > 0
    json.dumps(found, allow_nan=False)


def test_no_question_at_all_is_a_table_of_nones():
    found = summarize(np.zeros((2, 0, 4)), np.zeros((2, 0)), np.zeros(0, np.int64), resamples=5)
    assert all(interval["value"] is None for interval in every_interval(found))
    json.dumps(found, allow_nan=False)


def test_of_answers_that_are_all_right_there_is_no_auroc():
    found = summarize(np.full((2, 3, 2), [0.9, 0.1]), np.zeros((2, 3)), np.zeros(3, np.int64), resamples=5)
    assert found["ensemble"]["accuracy"] == {"value": 1, "low": 1, "high": 1}
    assert found["wrong_auroc"]["predictive_entropy"] == {"value": None, "low": None, "high": None}
    assert found["mutual_information"]["wrong"]["questions"] == 0


def test_the_order_of_the_members_changes_nothing_but_their_list(answered):
    probs, rest, answers = answered
    found = summarize(*answered, resamples=50)
    turned = summarize(probs[::-1], rest[::-1], answers, resamples=50)
    for mine, other in zip(every_interval(found), every_interval(turned), strict=True):
        assert {k: mine[k] for k in ("value", "low", "high")} == pytest.approx(
            {k: other[k] for k in ("value", "low", "high")}, abs=1e-9
        )
    per_member = [table["member_average"]["nll"]["per_member"] for table in (found, turned)]
    assert per_member[0] == per_member[1][::-1]


def test_one_member_is_its_own_ensemble_and_has_no_mutual_information(answered):
    probs, rest, answers = answered
    found = summarize(probs[:1], rest[:1], answers, resamples=50)
    for metric, number in found["ensemble"].items():
        assert found["member_average"][metric] == {**number, "per_member": [number["value"]]}
    assert found["mutual_information"]["all"]["mean"] == {"value": 0, "low": 0, "high": 0}
    assert found["wrong_auroc"]["mutual_information"]["value"] == 0.5


def test_a_score_never_decides_for_the_rest(answered):
    _, _, answers = answered
    probs = np.eye(CANDIDATES)[answers][None] * 0.1
    found = summarize(probs, np.full((1, QUESTIONS), 0.9), answers, resamples=5)
    assert found["ensemble"]["accuracy"]["value"] == 1
    assert found["ensemble"]["ece"]["value"] == pytest.approx(0.9)
    assert found["ensemble"]["nll"]["value"] == pytest.approx(np.log(10))
    assert found["ensemble"]["brier"]["value"] == pytest.approx(2 * 0.9**2)


def task(seed: int, questions: int, doubt: float, members: int = 3) -> SimpleNamespace:
    """Rounded, so that questions tie."""
    full = np.random.default_rng(seed).dirichlet(np.full(3, doubt), size=(members, questions)).round(1)
    return SimpleNamespace(probs=full[..., :2], rest=1 - full[..., :2].sum(axis=-1).clip(0, 1))


def test_separation_is_the_auroc_of_the_other_task():
    here, there = task(0, 200, 0.5), task(1, 300, 1.0)
    found = separation(here, there, resamples=500)
    for name, score in (("predictive_entropy", predictive_entropy), ("mutual_information", mutual_information)):
        number = found[name]
        scores = np.concatenate([score(each.probs, each.rest) for each in (here, there)])
        assert number["value"] == pytest.approx(roc_auc_score(np.repeat([0, 1], [200, 300]), scores), abs=1e-9)
        assert number["low"] < number["value"] < number["high"]
        # Hanley and McNeil's standard error.
        a = number["value"]
        spread = a * (1 - a) + 299 * (a / (2 - a) - a**2) + 199 * (2 * a**2 / (1 + a) - a**2)
        assert number["high"] - number["low"] == pytest.approx(2 * 1.96 * np.sqrt(spread / 200 / 300), rel=0.2)
    assert found["predictive_entropy"]["low"] > 0.5


def test_separation_of_a_task_from_another_draw_of_it_is_about_a_half():
    found = separation(task(0, 300, 1.0), task(1, 300, 1.0), resamples=300)
    for number in found.values():
        assert number["low"] < 0.5 < number["high"]


def test_separation_turned_round_is_its_complement():
    here, there = task(0, 40, 0.3), task(1, 50, 1.0)
    forth, back = separation(here, there, resamples=5), separation(there, here, resamples=5)
    assert forth["predictive_entropy"]["value"] == pytest.approx(1 - back["predictive_entropy"]["value"])
