"""Scores that need one look at each question, against numpy and scipy."""

import numpy as np
import pytest
from scipy.stats import chisquare
from scipy.stats import entropy as scipy_entropy

from kvorum.acquisition import ACQUISITIONS, Pool
from tests.acquisition.pools import random_pool, text_pool


@pytest.fixture(params=[True, False], ids=["rest", "no rest"])
def pool(request: pytest.FixtureRequest) -> Pool:
    return random_pool(3, members=4, choices=[2, 5, 3, 1, 4, 5, 2, 3], rest=request.param)


def test_entropy_is_that_of_the_mean_with_the_rest_as_an_outcome(pool: Pool) -> None:
    mean = np.append(pool.probs, pool.rest[..., None], axis=2).mean(axis=0)
    expected = [scipy_entropy(row) for row in mean]
    np.testing.assert_allclose(ACQUISITIONS["entropy"](pool, 3).scores, expected, atol=1e-14)


def test_margin_is_the_lead_of_the_first_candidate_with_the_sign_turned(pool: Pool) -> None:
    expected = []
    for question in range(len(pool)):
        second, first = sorted(float(np.mean(pool.probs[:, question, c])) for c in range(5))[-2:]
        expected.append(second - first)
    np.testing.assert_allclose(ACQUISITIONS["margin"](pool, 3).scores, expected, atol=1e-14)


def test_the_margin_of_an_only_candidate_is_its_probability() -> None:
    pool = Pool(probs=np.full((2, 1, 1), 0.7), rest=np.full((2, 1), 0.3))
    assert ACQUISITIONS["margin"](pool, 1).scores == pytest.approx(-0.7)


def test_least_confidence_is_what_the_top_candidate_lacks(pool: Pool) -> None:
    expected = [1 - max(np.mean(pool.probs[:, question, c]) for c in range(5)) for question in range(len(pool))]
    np.testing.assert_allclose(ACQUISITIONS["least_confidence"](pool, 3).scores, expected, atol=1e-14)


@pytest.mark.parametrize("name", ["entropy", "margin", "least_confidence", "mutual_information"])
def test_the_highest_scores_are_chosen_highest_first(pool: Pool, name: str) -> None:
    batch = ACQUISITIONS[name](pool, 4)
    assert list(batch.chosen) == sorted(range(len(pool)), key=lambda question: -batch.scores[question])[:4]


def test_the_first_choice_is_where_the_function_says_it_is() -> None:
    # Open among all, a close race of two, and one that is settled.
    pool = text_pool([[[0.4, 0.2, 0.2, 0.2], [0.45, 0.44, 0.11, 0], [0.9, 0.1, 0, 0]]])
    first = {name: ACQUISITIONS[name](pool, 1).chosen[0] for name in ("entropy", "margin", "least_confidence")}
    assert first == {"entropy": 0, "margin": 1, "least_confidence": 0}


def test_random_chooses_every_question_as_often_and_looks_at_nothing() -> None:
    pool = random_pool(0, members=2, choices=[3] * 6, rest=False)
    batches = [ACQUISITIONS["random"](pool, 2, seed=seed) for seed in range(1500)]
    counts = np.bincount(np.concatenate([batch.chosen for batch in batches]), minlength=6)
    assert chisquare(counts).pvalue > 0.001
    other = text_pool(np.full((2, 6, 3), 1 / 3))
    assert list(ACQUISITIONS["random"](other, 2, seed=7).chosen) == list(batches[7].chosen)


def test_a_longer_random_batch_begins_with_the_shorter_one() -> None:
    pool = random_pool(0, members=2, choices=[3] * 6, rest=False)
    short, long = (ACQUISITIONS["random"](pool, count, seed=5).chosen for count in (2, 5))
    assert list(long[:2]) == list(short)
