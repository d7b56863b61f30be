"""Differences of two ensembles: against the table of numbers and against theory of paired means."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from kvorum.errors import KvorumError
from kvorum.uncertainty import mutual_information, nll, predictive_entropy, summarize
from kvorum.uncertainty.paired import DIFFERENCES, UNCERTAINTIES, paired_differences
from kvorum.uncertainty.voice import METRICS

pytestmark = pytest.mark.filterwarnings("error")
QUESTIONS = 300


def pair(seed: int = 0, members: tuple[int, int] = (3, 3), noise: float = 0.4):
    """Two ensembles that find the same questions hard, and the answers."""
    rng = np.random.default_rng(seed)
    answers = rng.integers(0, 4, QUESTIONS)
    logits = rng.normal(0, 2, (QUESTIONS, 5)) + 2 * np.eye(5)[answers]

    def ensemble(size: int) -> SimpleNamespace:
        full = np.exp(logits + rng.normal(0, noise, (size, QUESTIONS, 5)))
        full /= full.sum(axis=-1, keepdims=True)
        return SimpleNamespace(probs=full[..., :4].copy(), rest=full[..., 4].copy())

    return ensemble(members[0]), ensemble(members[1]), answers


def flat(table: dict) -> dict[str, dict]:
    """The intervals of `summarize` under the names of `DIFFERENCES`."""
    found = {metric: table["ensemble"][metric] for metric in METRICS}
    found |= {name: table[name]["all"]["mean"] for name in UNCERTAINTIES}
    return found | {f"wrong_auroc.{name}": table["wrong_auroc"][name] for name in table["wrong_auroc"]}


@pytest.mark.parametrize("members", [(3, 3), (1, 5)])
def test_a_difference_is_that_of_the_two_tables(members):
    first, second, answers = pair(members=members)
    answers = np.where(np.arange(QUESTIONS) % 5 == 0, -1, answers)
    before, after = (flat(summarize(side.probs, side.rest, answers, resamples=5)) for side in (first, second))
    found = paired_differences(first, second, answers, resamples=5)
    assert set(found) == set(DIFFERENCES) == set(before)
    for name, number in found.items():
        assert number["value"] == pytest.approx(after[name]["value"] - before[name]["value"], abs=1e-12)
        assert number["value"] != 0
    back = paired_differences(second, first, answers, resamples=5)
    for name, number in found.items():
        turned = {"value": -back[name]["value"], "low": -back[name]["high"], "high": -back[name]["low"]}
        assert number == pytest.approx(turned, abs=1e-12)


def test_an_ensemble_does_not_differ_from_itself():
    first, _, answers = pair()
    found = paired_differences(first, first, answers, resamples=50)
    assert found == {name: {"value": 0, "low": 0, "high": 0} for name in DIFFERENCES}
    turned = SimpleNamespace(probs=first.probs[::-1], rest=first.rest[::-1])
    for number in paired_differences(first, turned, answers, resamples=50).values():
        assert list(number.values()) == pytest.approx([0, 0, 0], abs=1e-9)


def test_intervals_are_those_of_means_of_paired_differences():
    first, second, answers = pair()
    found = paired_differences(first, second, answers, resamples=3000)
    terms = {
        "accuracy": [side.probs.mean(axis=0).argmax(axis=1) == answers for side in (first, second)],
        "nll": [nll(side.probs.mean(axis=0), answers) for side in (first, second)],
        "predictive_entropy": [predictive_entropy(side.probs, side.rest) for side in (first, second)],
        "mutual_information": [mutual_information(side.probs, side.rest) for side in (first, second)],
    }
    for name, (before, after) in terms.items():
        differences = after.astype(float) - before
        width = 2 * 1.959964 * differences.std() / np.sqrt(QUESTIONS)
        assert found[name]["high"] - found[name]["low"] == pytest.approx(width, rel=0.1)
        assert found[name]["low"] < differences.mean() < found[name]["high"]


def test_what_is_hard_for_both_cancels():
    first, second, answers = pair()
    found = paired_differences(first, second, answers, resamples=400)
    sides = [flat(summarize(side.probs, side.rest, answers, resamples=400)) for side in (first, second)]
    for name in ("accuracy", "nll", "brier", "predictive_entropy", "wrong_auroc.predictive_entropy"):
        apart = np.hypot(*(side[name]["high"] - side[name]["low"] for side in sides))
        assert found[name]["high"] - found[name]["low"] < 0.8 * apart


def test_95_of_100_intervals_hold_no_difference_where_there_is_none():
    held = {"nll": 0, "brier": 0, "mutual_information": 0, "ece": 0}
    for seed in range(100):
        found = paired_differences(*pair(seed, (2, 2)), resamples=100, seed=seed)
        for name in held:
            held[name] += found[name]["low"] <= 0 <= found[name]["high"]
    # Four standard errors of 100 draws at 0.94.
    assert min(held.values()) >= 85


def test_the_interval_of_a_difference_in_calibration_holds_it_where_one_side_is_better_calibrated():
    """Percentiles as they are would hold it in one of three: a small error is biased upward more than a large one."""
    held, questions = 0, 1200
    for seed in range(60):
        rng = np.random.default_rng(seed)
        sure = rng.uniform(0.5, 1, questions)
        sides = []
        for lie in (0.125, 0.0):
            # Right as often as it says, less the lie: a true calibration error of just that.
            right = rng.random(questions) < sure - lie
            top = np.stack([sure, 1 - sure], axis=1)
            sides.append(np.where(right[:, None], top, top[:, ::-1]))
        first, second = (SimpleNamespace(probs=side[None], rest=np.zeros((1, questions))) for side in sides)
        found = paired_differences(first, second, np.zeros(questions, np.int64), resamples=200, seed=seed)["ece"]
        held += found["low"] <= -0.125 <= found["high"]
        assert found["low"] <= found["value"] <= found["high"]
    # Four standard errors of 60 draws below 0.9.
    assert held >= 45


def test_unknown_answers_count_in_the_entropies_alone():
    first, second, answers = pair()
    known = np.arange(QUESTIONS) % 3 > 0
    found = paired_differences(first, second, np.where(known, answers, -1), resamples=5)
    whole = paired_differences(first, second, answers, resamples=5)
    left = [SimpleNamespace(probs=side.probs[:, known], rest=side.rest[:, known]) for side in (first, second)]
    alone = paired_differences(*left, answers[known], resamples=5)
    for name in DIFFERENCES:
        expected = whole if name in UNCERTAINTIES else alone
        assert found[name]["value"] == pytest.approx(expected[name]["value"], abs=1e-12)


def test_a_single_member_ranks_by_mutual_information_as_chance_does():
    one, five, answers = pair(members=(1, 5))
    found = paired_differences(one, five, answers, resamples=50)
    alone = summarize(five.probs, five.rest, answers, resamples=5)["wrong_auroc"]["mutual_information"]["value"]
    assert found["wrong_auroc.mutual_information"]["value"] == pytest.approx(alone - 0.5)
    assert found["mutual_information"]["low"] > 0


@pytest.mark.parametrize("questions", [0, 1, 2])
def test_few_questions_certain_answers_and_no_label_are_no_trouble(questions):
    sure = SimpleNamespace(probs=np.eye(3)[None, :questions].repeat(2, axis=0), rest=np.zeros((2, questions)))
    spread = SimpleNamespace(probs=np.full((1, questions, 3), 1 / 3), rest=np.zeros((1, questions)))
    for answers in (np.zeros(questions, np.int64), np.full(questions, -1)):
        json.dumps(paired_differences(sure, spread, answers, resamples=20), allow_nan=False)
    unlabelled = paired_differences(sure, spread, np.full(questions, -1), resamples=5)
    assert unlabelled["nll"]["value"] is None
    entropy = unlabelled["predictive_entropy"]["value"]
    assert entropy == (pytest.approx(np.log(3)) if questions else None)


def test_other_questions_cannot_be_paired():
    first, second, answers = pair()
    fewer = SimpleNamespace(probs=second.probs[:, 1:], rest=second.rest[:, 1:])
    with pytest.raises(KvorumError, match="300 questions cannot be paired with 299"):
        paired_differences(first, fewer, answers)
