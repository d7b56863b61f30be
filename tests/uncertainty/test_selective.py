"""Risk and coverage against brute force and closed forms, and the guarantees against what they promise."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from kvorum.errors import KvorumError
from kvorum.uncertainty.selective import (
    aurc,
    lower_bound,
    resampled_aurc,
    resampled_ideal_aurc,
    risk_coverage,
    threshold_for_coverage,
    threshold_for_risk,
    upper_bound,
)


@given(
    st.lists(st.tuples(st.sampled_from([0.0, 0.25, 0.5, 0.75]), st.booleans()), min_size=1, max_size=6),
)
@settings(max_examples=60, deadline=None)
def test_aurc_is_the_mean_over_every_order_of_equal_doubts(rows: list[tuple[float, bool]]) -> None:
    doubt, wrong = np.array([d for d, _ in rows]), np.array([w for _, w in rows])
    areas = []
    for order in itertools.permutations(range(len(rows))):
        if all(doubt[a] <= doubt[b] for a, b in itertools.pairwise(order)):
            risks = np.cumsum(wrong[list(order)]) / np.arange(1, len(rows) + 1)
            areas.append(risks.mean())
    assert aurc(doubt, wrong) == pytest.approx(np.mean(areas))


def test_resampled_area_is_that_of_the_questions_laid_out() -> None:
    draw = np.random.default_rng(0)
    doubt, wrong = draw.choice([0.1, 0.2, 0.3, 0.4], 30), draw.random(30) < 0.3
    counts = draw.integers(0, 4, (5, 30)).astype(float)
    found, ideal = resampled_aurc(doubt, wrong, counts), resampled_ideal_aurc(wrong, counts)
    for place, drawn in enumerate(counts.astype(int)):
        assert found[place] == pytest.approx(aurc(np.repeat(doubt, drawn), np.repeat(wrong, drawn)))
        laid_out = np.repeat(wrong, drawn)
        assert ideal[place] == pytest.approx(aurc(laid_out.astype(float), laid_out))


def test_a_perfect_score_has_no_excess_and_a_useless_one_the_risk() -> None:
    wrong = np.array([False] * 6 + [True] * 4)
    ideal = resampled_ideal_aurc(wrong, np.ones((1, 10)))[0]
    assert ideal == pytest.approx((1 / 7 + 2 / 8 + 3 / 9 + 4 / 10) / 10)
    assert aurc(wrong.astype(float), wrong) == pytest.approx(ideal)
    assert aurc(np.zeros(10), wrong) == pytest.approx(0.4)


def test_curve_holds_every_threshold_once() -> None:
    curve = risk_coverage(np.array([0.3, 0.1, 0.3, 0.2]), np.array([True, False, False, True]))
    assert curve.threshold.tolist() == [0.1, 0.2, 0.3]
    assert curve.coverage.tolist() == [0.25, 0.5, 1.0]
    assert curve.risk.tolist() == [0.0, 0.5, 0.5]


@pytest.mark.parametrize(("wrong", "answered"), [(0, 22), (0, 1), (3, 40), (17, 100), (5, 5)])
def test_bound_is_where_so_few_wrong_answers_become_too_rare(wrong: int, answered: int) -> None:
    bound = upper_bound(wrong, answered, 0.9)
    if wrong == answered:
        assert bound == 1
    else:
        assert binom.cdf(wrong, answered, bound) == pytest.approx(0.1)
    assert lower_bound(answered - wrong, answered, 0.9) == pytest.approx(1 - bound)


def test_no_wrong_answer_gives_the_rule_of_three() -> None:
    assert upper_bound(0, 300, 0.95) == pytest.approx(1 - 0.05 ** (1 / 300))
    assert upper_bound(0, 300, 0.95) == pytest.approx(3 / 300, rel=0.01)


def drawn(generator: np.random.Generator, questions: int) -> tuple[np.ndarray, np.ndarray]:
    """Questions whose risk rises with their doubt: P(wrong) = doubt / 2."""
    doubt = generator.random(questions)
    return doubt, generator.random(questions) < doubt / 2


def test_risk_of_the_threshold_is_above_the_target_no_more_often_than_allowed() -> None:
    generator, target = np.random.default_rng(1), 0.15
    exceeded, coverage = 0, []
    for _ in range(400):
        found = threshold_for_risk(*drawn(generator, 2000), target, confidence=0.9)
        exceeded += found.value / 4 > target  # the true risk below a threshold t is t / 4
        coverage.append(found.value)
    assert 0.01 <= exceeded / 400 <= 0.1 + 2 * math.sqrt(0.1 * 0.9 / 400)
    # Of the 0.6 that could be answered, most are: the bound is not merely careful.
    assert np.mean(coverage) > 0.5


def test_everything_is_answered_where_nothing_is_wrong() -> None:
    doubt = np.random.default_rng(0).random(500)
    found = threshold_for_risk(doubt, np.zeros(500, bool), 0.05, confidence=0.95)
    assert (found.value, found.answered, found.wrong) == (doubt.max(), 500, 0)
    assert found.risk_bound <= 0.05


def test_too_few_questions_say_what_would_be_reached() -> None:
    with pytest.raises(KvorumError, match=r"of 10 questions, the 10 least doubted ones come nearest.*up to 0.390"):
        threshold_for_risk(np.linspace(0, 1, 10), np.zeros(10, bool), 0.05, confidence=0.95)


def test_a_small_share_that_is_surely_right_is_found() -> None:
    wrong = np.ones(2000, bool)
    wrong[:300] = False
    found = threshold_for_risk(np.linspace(0, 1, 2000), wrong, 0.05, confidence=0.95)
    assert 280 <= found.answered - found.wrong <= 300 and found.risk_bound <= 0.05


def test_coverage_and_its_bounds_hold_for_others_as_often_as_promised() -> None:
    generator = np.random.default_rng(2)
    covered = risk = 0
    for _ in range(400):
        found = threshold_for_coverage(*drawn(generator, 200), 0.8, confidence=0.9)
        assert found.answered == 160
        assert found.coverage_bound is not None
        covered += found.value >= found.coverage_bound  # the true coverage of a threshold is the threshold
        risk += found.value / 4 <= found.risk_bound
    slack = 2 * math.sqrt(0.1 * 0.9 / 400)
    assert covered / 400 >= 0.9 - slack
    assert covered / 400 <= 0.9 + slack + 0.02
    assert risk / 400 >= 0.9 - slack


def test_answering_all_promises_no_more_than_has_been_seen() -> None:
    found = threshold_for_coverage(np.arange(9.0), np.zeros(9, bool), 1.0, confidence=0.95)
    assert (found.value, found.answered) == (8.0, 9)
    assert found.coverage_bound == pytest.approx(0.05 ** (1 / 9))
