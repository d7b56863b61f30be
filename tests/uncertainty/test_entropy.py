"""Entropies and mutual information: closed forms, scipy, and what must hold of every ensemble."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import entropy as scipy_entropy

from kvorum.uncertainty import expected_entropy, mutual_information, predictive_entropy

pytestmark = pytest.mark.filterwarnings("error")


@st.composite
def ensembles(draw) -> tuple[np.ndarray, np.ndarray]:
    """Distributions of up to 6 members, many of them with exact zeros and ones; the last candidate is the rest."""
    shape = tuple(draw(st.integers(1, size)) for size in (6, 4, 5))
    weights = draw(
        arrays(np.float64, (*shape[:2], shape[2] + 1), elements=st.sampled_from([0, 0, 1e-9, 0.1, 0.5, 1, 7]))
    )
    weights[..., 0] += weights.sum(axis=-1) == 0
    full = weights / weights.sum(axis=-1, keepdims=True)
    return full[..., :-1].copy(), full[..., -1].copy()


def no_rest(probs) -> tuple[np.ndarray, np.ndarray]:
    probs = np.asarray(probs, np.float64)
    return probs, np.zeros(probs.shape[:2])


def test_two_certain_members_that_contradict_each_other_disagree_by_ln_2():
    opposite = no_rest([[[1, 0]], [[0, 1]]])
    assert mutual_information(*opposite) == pytest.approx(np.log(2), abs=1e-15)
    assert predictive_entropy(*opposite) == pytest.approx(np.log(2), abs=1e-15)
    assert expected_entropy(*opposite) == 0


@pytest.mark.parametrize("members", [1, 2, 3, 5, 20])
def test_members_each_certain_of_another_answer_disagree_by_ln_of_their_number(members):
    votes = no_rest(np.eye(members)[:, None, :])
    assert mutual_information(*votes) == pytest.approx(np.log(members), abs=1e-12)


def test_members_that_share_a_doubt_have_entropy_and_no_mutual_information():
    torn = no_rest(np.full((4, 1, 5), 0.2))
    assert predictive_entropy(*torn) == pytest.approx(np.log(5))
    assert expected_entropy(*torn) == pytest.approx(np.log(5))
    assert mutual_information(*torn) == 0


def test_the_rest_is_one_more_outcome():
    probs, rest = np.array([[[0.0, 0.0]], [[1.0, 0.0]]]), np.array([[1.0], [0.0]])
    assert mutual_information(probs, rest) == pytest.approx(np.log(2))
    assert predictive_entropy(np.full((1, 1, 3), 0.25), np.full((1, 1), 0.25)) == pytest.approx(np.log(4))


def test_a_worked_example():
    # Members (.9, .1) and (.5, .5), mean (.7, .3), worked out with a calculator.
    split = no_rest([[[0.9, 0.1]], [[0.5, 0.5]]])
    assert predictive_entropy(*split) == pytest.approx(0.6108643, abs=1e-7)
    assert expected_entropy(*split) == pytest.approx((0.3250830 + 0.6931472) / 2, abs=1e-7)
    assert mutual_information(*split) == pytest.approx(0.1017492, abs=1e-7)


@given(ensembles())
def test_agrees_with_scipy(ensemble):
    probs, rest = ensemble
    full = np.concatenate([probs, rest[..., None]], axis=-1)
    mean = full.mean(axis=0)
    np.testing.assert_allclose(predictive_entropy(probs, rest), scipy_entropy(mean, axis=-1), atol=1e-9)
    np.testing.assert_allclose(expected_entropy(probs, rest), scipy_entropy(full, axis=-1).mean(axis=0), atol=1e-9)
    # Another formula for the same thing: the mean divergence of the members from their mean.
    divergence = scipy_entropy(full, np.broadcast_to(mean, full.shape), axis=-1).mean(axis=0)
    np.testing.assert_allclose(mutual_information(probs, rest), divergence, atol=1e-9)


@given(ensembles())
def test_mutual_information_is_at_least_0_and_at_most_ln_members_and_the_entropy(ensemble):
    information = mutual_information(*ensemble)
    assert (information >= 0).all()
    assert (information <= np.log(len(ensemble[0])) + 1e-12).all()
    assert (information <= predictive_entropy(*ensemble)).all()


@given(ensembles(), st.randoms(use_true_random=False))
def test_the_order_of_members_and_of_candidates_does_not_matter(ensemble, random):
    probs, rest = ensemble
    members, candidates = list(range(len(probs))), list(range(probs.shape[2]))
    random.shuffle(members)
    random.shuffle(candidates)
    shuffled = probs[members][:, :, candidates], rest[members]
    for measure in (predictive_entropy, expected_entropy, mutual_information):
        np.testing.assert_allclose(measure(*shuffled), measure(probs, rest), atol=1e-12)


@given(ensembles())
def test_candidates_of_probability_zero_and_doubled_members_change_nothing(ensemble):
    probs, rest = ensemble
    padded = np.concatenate([probs, np.zeros((*probs.shape[:2], 2))], axis=2)
    for measure in (predictive_entropy, expected_entropy, mutual_information):
        np.testing.assert_allclose(measure(padded, rest), measure(probs, rest), atol=1e-12)
        doubled = np.concatenate([probs, probs]), np.concatenate([rest, rest])
        np.testing.assert_allclose(measure(*doubled), measure(probs, rest), atol=1e-12)


@pytest.mark.parametrize("members", [2, 3, 5, 7, 20])
def test_members_that_agree_have_exactly_no_mutual_information(members):
    one = np.random.default_rng(0).dirichlet(np.ones(6), size=500)
    probs, rest = np.tile(one[:, :5], (members, 1, 1)), np.tile(one[:, 5], (members, 1))
    assert (mutual_information(probs, rest) == 0).all()


def test_mutual_information_far_below_a_millionth_is_still_told_from_none():
    slight = no_rest([[[0.5 + 1e-5, 0.5 - 1e-5]], [[0.5 - 1e-5, 0.5 + 1e-5]]])
    assert mutual_information(*slight) == pytest.approx(2e-10, rel=1e-3)


def test_single_precision_is_computed_in_double():
    probs = np.random.default_rng(0).dirichlet(np.ones(4), size=(5, 20)).astype(np.float32)
    rest = np.zeros((5, 20), np.float32)
    exact = probs.astype(np.float64), rest.astype(np.float64)
    for measure in (predictive_entropy, expected_entropy, mutual_information):
        np.testing.assert_array_equal(measure(probs, rest), measure(*exact))
