"""Disagreement and KL between members: against loops over pairs, and where the answer is known beforehand."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy as scipy_entropy

from kvorum.uncertainty import mutual_information
from kvorum.uncertainty.diversity import COLLAPSED, diversity, pairwise_disagreement, pairwise_kl

pytestmark = pytest.mark.filterwarnings("error")


def ensemble(seed: int, members: int = 4, questions: int = 30, spread: float = 0.7) -> tuple[np.ndarray, np.ndarray]:
    full = np.random.default_rng(seed).dirichlet(np.full(5, spread), size=(members, questions))
    return full[..., :4].copy(), full[..., 4].copy()


def by_loops(probs: np.ndarray, rest: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each ordered pair and question: whether they differ, and scipy's KL."""
    full = np.concatenate([probs, rest[..., None]], axis=-1)
    differ, kl = np.zeros((2, len(full), *rest.shape))
    for i, j in itertools.product(range(len(full)), repeat=2):
        differ[i, j] = [a.argmax() != b.argmax() for a, b in zip(probs[i], probs[j], strict=True)]
        kl[i, j] = scipy_entropy(full[i], full[j], axis=-1)
    return differ, kl


def test_pairs_agree_with_a_loop():
    probs, rest = ensemble(0)
    differ, kl = by_loops(probs, rest)
    np.testing.assert_allclose(pairwise_disagreement(probs), differ.mean(axis=2), atol=1e-12)
    np.testing.assert_allclose(pairwise_kl(probs, rest), kl.mean(axis=2), atol=1e-10)
    assert pairwise_kl(probs, rest)[0, 1] != pytest.approx(pairwise_kl(probs, rest)[1, 0], rel=1e-3)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 6), st.integers(1, 8))
def test_means_and_the_closest_pair_agree_with_a_loop(seed, members, questions):
    probs, rest = ensemble(seed, members, questions)
    differ, kl = by_loops(probs, rest)
    pairs = list(itertools.combinations(range(members), 2))
    found = diversity(probs, rest, resamples=2)
    assert found["disagreement"]["value"] == pytest.approx(np.mean([differ[pair] for pair in pairs]), abs=1e-9)
    both = {(i, j): (kl[i, j].mean() + kl[j, i].mean()) / 2 for i, j in pairs}
    assert found["kl"]["value"] == pytest.approx(np.mean(list(both.values())), abs=1e-9)
    closest = tuple(found["closest"]["members"])
    assert both[closest] == pytest.approx(min(both.values()), abs=1e-9)
    assert found["closest"]["kl"] == pytest.approx(both[closest], abs=1e-9)
    assert found["closest"]["disagreement"] == pytest.approx(differ[closest].mean())


def test_intervals_are_those_of_means_over_questions():
    probs, rest = ensemble(1, members=3, questions=400)
    differ, kl = by_loops(probs, rest)
    found = diversity(probs, rest, resamples=3000)
    off = ~np.eye(3, dtype=bool)
    for name, values in {"disagreement": differ[off].mean(axis=0), "kl": kl[off].mean(axis=0)}.items():
        assert found[name]["low"] < found[name]["value"] < found[name]["high"]
        width = 2 * 1.959964 * values.std() / np.sqrt(400)
        assert found[name]["high"] - found[name]["low"] == pytest.approx(width, rel=0.1)


def test_two_members_sure_of_different_things():
    sure = 0.99
    probs = np.array([[[sure, 1 - sure, 0.0]], [[1 - sure, sure, 0.0]]]).repeat(3, axis=1)
    found = diversity(probs, np.zeros((2, 3)), resamples=10)
    expected = sure * np.log(sure / (1 - sure)) + (1 - sure) * np.log((1 - sure) / sure)
    for name, value in {"disagreement": 1.0, "kl": expected}.items():
        assert [found[name][key] for key in ("value", "low", "high")] == pytest.approx([value] * 3)
    assert found["closest"] == {"members": [0, 1], "kl": pytest.approx(expected), "disagreement": 1.0}
    assert found["collapsed"] is False


def test_what_only_the_rest_tells_apart_counts():
    probs = np.array([[[0.4, 0.1]], [[0.8, 0.2]]])
    rest = np.array([[0.5], [1e-9]])
    found = diversity(probs, rest, resamples=5)
    expected = scipy_entropy([0.4, 0.1, 0.5], [0.8, 0.2, 1e-9]) + scipy_entropy([0.8, 0.2, 1e-9], [0.4, 0.1, 0.5])
    assert found["kl"]["value"] == pytest.approx(expected / 2, rel=1e-6)
    assert found["disagreement"]["value"] == 0


def test_identical_members_have_collapsed():
    one, rest = ensemble(2, members=1)
    found = diversity(one.repeat(5, axis=0), rest.repeat(5, axis=0), resamples=10)
    assert found["disagreement"] == {"value": 0, "low": 0, "high": 0}
    assert found["kl"]["value"] == pytest.approx(0, abs=1e-12)
    assert found["closest"]["kl"] == pytest.approx(0, abs=1e-12)
    assert found["collapsed"] is True


@pytest.mark.parametrize(("apart", "collapsed"), [(0.98, True), (1.02, False)])
def test_members_have_collapsed_just_below_the_threshold(apart, collapsed):
    """Two members at 1/2 + e and 1/2 - e: KL = 2 e ln((1 + 2e) / (1 - 2e)), about 8 e^2."""
    e = np.sqrt(apart * COLLAPSED / 8)
    probs = np.array([[[0.5 + e, 0.5 - e]], [[0.5 - e, 0.5 + e]]])
    found = diversity(probs, np.zeros((2, 1)), resamples=2)
    assert found["kl"]["value"] == pytest.approx(2 * e * np.log((1 + 2 * e) / (1 - 2 * e)))
    assert found["collapsed"] is collapsed


@pytest.mark.parametrize("members", [2, 5, 20])
def test_between_alike_members_kl_is_twice_the_mutual_information(members):
    """To second order KL = 2 M / (M - 1) MI: what the threshold of collapse is derived from."""
    rng = np.random.default_rng(3)
    full = rng.dirichlet(np.full(4, 3.0), size=200) * np.exp(rng.normal(0, 0.02, size=(members, 200, 4)))
    full /= full.sum(axis=-1, keepdims=True)
    probs, rest = full[..., :3].copy(), full[..., 3].copy()
    expected = 2 * members / (members - 1) * mutual_information(probs, rest).mean()
    assert diversity(probs, rest, resamples=2)["kl"]["value"] == pytest.approx(expected, rel=0.01)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.permutations(range(4)))
def test_the_order_of_members_changes_no_mean(seed, order):
    probs, rest = ensemble(seed, questions=5)
    found, turned = diversity(probs, rest, resamples=2), diversity(probs[order], rest[order], resamples=2)
    for name in ("disagreement", "kl"):
        assert found[name]["value"] == pytest.approx(turned[name]["value"], abs=1e-9)
    names = sorted(order[place] for place in turned["closest"]["members"])
    assert names == found["closest"]["members"]


def test_probabilities_of_zero_and_one_stay_finite_and_alike_ones_cost_nothing():
    probs = np.eye(3)[np.array([[0, 1], [0, 2], [0, 1]])]
    found = diversity(probs, np.zeros((3, 2)), resamples=20)
    assert found["disagreement"]["value"] == pytest.approx(1 / 3)  # two of three pairs, on one of two questions
    assert 100 < found["kl"]["value"] < 1000
    assert found["closest"] == {"members": [0, 2], "kl": 0, "disagreement": 0}
    json.dumps(found, allow_nan=False)


def test_one_member_or_no_question_has_nothing_to_compare():
    assert diversity(*ensemble(0, members=1)) is None
    assert diversity(*ensemble(0, questions=0)) is None


def test_single_precision_is_taken():
    probs, rest = ensemble(4)
    single = diversity(probs.astype(np.float32), rest.astype(np.float32), resamples=5)
    assert single["kl"]["value"] == pytest.approx(diversity(probs, rest, resamples=5)["kl"]["value"], rel=1e-4)
