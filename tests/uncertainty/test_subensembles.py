"""Sub-ensembles: against the table of numbers, a loop over groups with scikit-learn and torchmetrics, and theory."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy as scipy_entropy
from sklearn.metrics import brier_score_loss, log_loss
from torchmetrics.functional.classification import multiclass_calibration_error

from kvorum.errors import KvorumError
from kvorum.uncertainty import summarize
from kvorum.uncertainty.subensembles import METRICS, default_sizes, disjoint_groups, subensembles

pytestmark = pytest.mark.filterwarnings("error")
QUESTIONS, CANDIDATES = 150, 4
NOTHING = {"value": None, "std": None, "least": None, "greatest": None}


def ensemble(seed: int = 0, members: int = 4, questions: int = QUESTIONS) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Members that lean towards the answer, each in its own way, so that more of them are better."""
    rng = np.random.default_rng(seed)
    answers = rng.integers(0, CANDIDATES, questions)
    full = rng.dirichlet(np.full(CANDIDATES + 1, 0.5), size=(members, questions))
    full = 0.7 * full + 0.3 * np.eye(CANDIDATES + 1)[answers] * rng.random((members, questions, 1))
    full /= full.sum(axis=-1, keepdims=True)
    return full[..., :CANDIDATES].copy(), full[..., CANDIDATES].copy(), answers


def by_hand(probs: np.ndarray, rest: np.ndarray, answers: np.ndarray, bins: int = 10) -> dict[str, float]:
    """Everything of one group, by others' code."""
    full = np.concatenate([probs, rest[..., None]], axis=-1)
    mean = full.mean(axis=0)
    candidates = torch.tensor(mean[:, :CANDIDATES])
    right = candidates.argmax(1).numpy() == answers
    total = scipy_entropy(mean, axis=-1)
    known = {"predictive_entropy": total, "mutual_information": total - scipy_entropy(full, axis=-1).mean(axis=0)}
    return {
        "accuracy": right.mean(),
        "nll": log_loss(answers, mean, labels=range(CANDIDATES + 1)),
        "brier": brier_score_loss(answers, mean, labels=range(CANDIDATES + 1), scale_by_half=False),
        "ece": multiclass_calibration_error(
            candidates, torch.tensor(answers), num_classes=CANDIDATES, n_bins=bins
        ).item(),
    } | {
        f"{name}/{which}": values[rows].mean()
        for name, values in known.items()
        for which, rows in {"all": right | True, "correct": right, "wrong": ~right}.items()
    }


@pytest.mark.parametrize(
    ("members", "sizes"),
    [
        (20, (1, 5, 10, 20)),
        (40, (1, 5, 10, 20, 40)),
        (10, (1, 5, 10)),
        (8, (1, 2, 4, 8)),
        (7, (1, 7)),
        (12, (1, 2, 3, 6, 12)),
        (5, (1, 5)),
        (1, (1,)),
    ],
)
def test_default_sizes_divide_the_members(members, sizes):
    assert default_sizes(members) == sizes


@given(st.integers(1, 200))
def test_default_sizes_go_from_one_to_all_in_few_steps(members):
    sizes = default_sizes(members)
    assert sizes[0] == 1 and sizes[-1] == members and len(sizes) <= 5
    assert all(members % size == 0 for size in sizes) and list(sizes) == sorted(set(sizes))


def test_groups_are_disjoint_and_leave_over_what_fills_none():
    assert [list(group) for group in disjoint_groups(7, 3)] == [[0, 1, 2], [3, 4, 5]]
    assert [list(group) for group in disjoint_groups(4, 2)] == [[0, 1], [2, 3]]
    for size in (0, 8):
        with pytest.raises(KvorumError, match=f"no group of {size} among 7 members; expected 1 to 7"):
            disjoint_groups(7, size)


@pytest.mark.parametrize(
    ("members", "size", "left", "bins"), [(4, 2, 0, 10), (5, 2, 1, 10), (4, 1, 0, 10), (4, 4, 0, 10), (4, 2, 0, 40)]
)
def test_a_size_agrees_with_a_loop_over_its_groups(members, size, left, bins):
    probs, rest, answers = ensemble(members=members)
    rows = subensembles(probs, rest, answers, [size], bins=bins, resamples=5)
    found = next(row for row in rows if row["size"] == size)
    each = [
        by_hand(probs[start : start + size], rest[start : start + size], answers, bins)
        for start in range(0, members - left, size)
    ]
    assert (found["groups"], found["members_left_out"]) == (len(each), left)
    for name in each[0]:
        values = [one[name] for one in each]
        quantity, _, which = name.partition("/")
        spread = found[quantity][which] if which else found[quantity]
        assert spread["per_group"] == pytest.approx(values, abs=1e-6)
        assert spread["value"] == pytest.approx(np.mean(values), abs=1e-6)
        assert (spread["least"], spread["greatest"]) == pytest.approx((min(values), max(values)), abs=1e-6)
        assert spread["std"] == (pytest.approx(np.std(values, ddof=1), abs=1e-6) if len(each) > 1 else None)


def test_one_is_the_members_average_and_all_is_the_ensemble():
    probs, rest, answers = ensemble()
    answers = np.where(np.arange(QUESTIONS) % 4 == 0, -1, answers)
    table = summarize(probs, rest, answers, resamples=5)
    rows = subensembles(probs, rest, answers, [2], resamples=5)
    assert [row["size"] for row in rows] == [1, 2, 4]
    for metric in METRICS:
        assert rows[0][metric]["per_group"] == pytest.approx(table["member_average"][metric]["per_member"], abs=1e-12)
        assert rows[-1][metric]["value"] == pytest.approx(table["ensemble"][metric]["value"], abs=1e-12)
    for name in ("predictive_entropy", "mutual_information"):
        for which in ("all", "correct", "wrong"):
            assert rows[-1][name][which]["value"] == pytest.approx(table[name][which]["mean"]["value"], abs=1e-12)


def test_the_order_within_a_group_means_nothing_and_who_is_in_it_does():
    probs, rest, answers = ensemble()
    before, within, across = (
        subensembles(probs[order], rest[order], answers, [2], resamples=5)[1]
        for order in ([0, 1, 2, 3], [1, 0, 3, 2], [0, 2, 1, 3])
    )
    for name in ("nll", "brier", "ece"):
        assert before[name]["per_group"] == pytest.approx(within[name]["per_group"], abs=1e-12)
        assert before[name]["per_group"] != pytest.approx(across[name]["per_group"], abs=1e-4)


def test_gains_count_up_for_the_better_and_kept_is_their_share():
    rows = subensembles(*ensemble(), [2], resamples=50)
    for metric, sign in {"accuracy": 1, "nll": -1, "brier": -1, "ece": -1}.items():
        one, two, four = (sign * row[metric]["value"] for row in rows)
        assert [row["gain"][metric]["value"] for row in rows] == pytest.approx([0, two - one, four - one], abs=1e-12)
        if rows[-1]["kept"][metric] is not None:
            shares = [row["kept"][metric]["value"] for row in rows]
            assert shares == pytest.approx([0, (two - one) / (four - one), 1])
    for metric in ("accuracy", "nll", "brier"):
        assert rows[-1]["gain"][metric]["low"] > 0
        assert rows[0]["kept"][metric] == {"value": 0, "low": 0, "high": 0}
        assert rows[-1]["kept"][metric] == {"value": 1, "low": 1, "high": 1}


def test_intervals_of_gain_and_kept_are_as_wide_as_theory_says():
    probs, rest, answers = ensemble(questions=600)
    of = np.arange(600)

    def nll(*groups):
        return -np.mean([np.log(probs[group].mean(axis=0)[of, answers]) for group in groups], axis=0)

    one, two, four = nll([0], [1], [2], [3]), nll([0, 1], [2, 3]), nll([0, 1, 2, 3])
    row = subensembles(probs, rest, answers, [2], resamples=3000)[1]
    kept = (one - two).mean() / (one - four).mean()
    # A ratio of means varies, to first order, as the mean of its residuals.
    residuals = ((one - two) - kept * (one - four)) / (one - four).mean()
    for found, value, terms in ((row["gain"], (one - two).mean(), one - two), (row["kept"], kept, residuals)):
        assert found["nll"]["value"] == pytest.approx(value)
        width = 2 * 1.959964 * terms.std() / np.sqrt(600)
        assert found["nll"]["high"] - found["nll"]["low"] == pytest.approx(width, rel=0.1)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_larger_groups_never_lose_by_nll_or_brier_and_disagree_more(seed):
    """Both scores are convex in the distribution, entropy is concave: Jensen, as each size divides the next."""
    rows = subensembles(*ensemble(seed, members=4, questions=6), [1, 2, 4], resamples=1)
    for metric in ("nll", "brier"):
        gains = [row["gain"][metric]["value"] for row in rows]
        assert gains == sorted(gains) and gains[0] == 0 < gains[1]
    for name in ("predictive_entropy", "mutual_information"):
        values = [row[name]["all"]["value"] for row in rows]
        assert values == sorted(values)
    assert rows[0]["mutual_information"]["all"]["value"] == 0


def test_where_nothing_is_clearly_gained_nothing_is_kept():
    probs, rest, answers = ensemble(members=1)
    rows = subensembles(probs.repeat(4, axis=0), rest.repeat(4, axis=0), answers, resamples=50)
    assert [row["size"] for row in rows] == [1, 2, 4]
    assert all(row["kept"] == dict.fromkeys(METRICS) for row in rows)
    few = subensembles(*ensemble(1, questions=5), resamples=200)[-1]
    for metric in METRICS:
        assert (few["kept"][metric] is None) == (few["gain"][metric]["low"] <= 0)
    assert few["gain"]["accuracy"]["low"] <= 0 and few["kept"]["accuracy"] is None


@pytest.mark.parametrize("seed", [0, 1, 50])
def test_resamples_without_any_gain_keep_no_share(seed):
    """Of six questions many a resample gains nothing at one size and something at another."""
    rows = subensembles(*ensemble(seed, questions=6), resamples=300)
    json.dumps(rows, allow_nan=False)


@pytest.mark.parametrize("members", [3, 6, 7])
@pytest.mark.parametrize("seed", range(5))
def test_rounding_errors_are_no_gain(seed, members):
    probs, rest, answers = ensemble(seed, members=1, questions=1)
    rows = subensembles(probs.repeat(members, axis=0), rest.repeat(members, axis=0), answers, resamples=5)
    for row in rows:
        assert row["gain"] == {metric: {"value": 0, "low": 0, "high": 0} for metric in METRICS}
        assert row["kept"] == dict.fromkeys(METRICS)


def test_unknown_answers_count_in_the_uncertainty_of_all_alone():
    probs, rest, answers = ensemble()
    rows = subensembles(probs, rest, np.full(QUESTIONS, -1), resamples=5)
    everything = subensembles(probs, rest, answers, resamples=5)
    for row, full in zip(rows, everything, strict=True):
        assert row["nll"] == {**NOTHING, "per_group": [None] * row["groups"]}
        assert row["mutual_information"]["wrong"] == {**NOTHING, "per_group": [None] * row["groups"]}
        assert row["mutual_information"]["all"] == full["mutual_information"]["all"]
        assert row["gain"]["nll"]["value"] is None and row["kept"]["nll"] is None
    json.dumps(rows, allow_nan=False)


def test_a_group_without_a_wrong_answer_is_left_out_of_their_mean():
    probs = np.array([[[0.9, 0.1], [0.9, 0.1]], [[0.9, 0.1], [0.3, 0.7]]])
    wrong = subensembles(probs, np.zeros((2, 2)), np.array([0, 0]), resamples=5)[0]["predictive_entropy"]["wrong"]
    entropy = scipy_entropy([0.3, 0.7])
    assert wrong["per_group"] == [None, pytest.approx(entropy)]
    assert wrong["value"] == pytest.approx(entropy) and wrong["std"] is None


def test_one_member_is_one_row_and_sizes_that_are_not_there_are_left_out():
    (row,) = subensembles(*ensemble(members=1), [5, 20], resamples=5)
    assert (row["size"], row["groups"], row["members_left_out"]) == (1, 1, 0)
    assert row["gain"]["nll"] == {"value": 0, "low": 0, "high": 0} and row["kept"]["nll"] is None
    with pytest.raises(KvorumError, match="no group of 0"):
        subensembles(*ensemble(), [0], resamples=5)


def test_no_question_is_a_table_of_nones():
    rows = subensembles(np.zeros((2, 0, 3)), np.zeros((2, 0)), np.zeros(0, np.int64), resamples=5)
    assert [row["mutual_information"]["all"]["value"] for row in rows] == [None, None]
    json.dumps(rows, allow_nan=False)


def test_members_left_over_weigh_on_no_gain():
    """An eleventh member that knows nothing is in no group of five: what five gain and keep is as without it."""
    probs, rest, answers = ensemble(members=11)
    probs[10], rest[10] = np.roll(probs[10], 1, axis=-1), rest[10]
    with_it = next(row for row in subensembles(probs, rest, answers, [5], resamples=50) if row["size"] == 5)
    without = next(row for row in subensembles(probs[:10], rest[:10], answers, [5], resamples=50) if row["size"] == 5)
    assert with_it["members_left_out"] == 1
    assert with_it["gain"] == without["gain"] and with_it["kept"] == without["kept"]
    assert with_it["kept"]["nll"]["value"] < 1


def test_the_share_kept_of_a_calibration_gain_has_no_interval():
    rng = np.random.default_rng(0)
    answers = rng.integers(0, 4, 400)
    logits = 4 * rng.normal(size=(10, 400, 4)) + 1.5 * np.eye(4)[answers]
    probs = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    row = next(row for row in subensembles(probs, np.zeros((10, 400)), answers, [5]) if row["size"] == 5)
    kept = row["kept"]["ece"]
    whole = next(row for row in subensembles(probs, np.zeros((10, 400)), answers) if row["size"] == 10)
    assert kept["value"] == pytest.approx(row["gain"]["ece"]["value"] / whole["gain"]["ece"]["value"])
    assert kept["low"] is None and kept["high"] is None
