"""BatchBALD against joint entropies enumerated another way, exactly and by drawn answers."""

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from scipy.stats import entropy as scipy_entropy

from kvorum.acquisition import Pool
from kvorum.acquisition.asked import Asked
from kvorum.acquisition.batch_bald import batch_bald
from kvorum.uncertainty import mutual_information
from tests.acquisition.pools import pools, random_pool, text_pool

pytestmark = pytest.mark.filterwarnings("error")

CASES = {
    "letter": random_pool(0, members=3, choices=[2, 4, 3, 2, 3], rest=True),
    "text": random_pool(1, members=5, choices=[3, 2, 5, 2, 1, 4], rest=False),
    "two members": random_pool(2, members=2, choices=[2, 2, 3, 2], rest=True),
    "agreeing": random_pool(3, members=4, choices=[4, 4, 4, 4], rest=False, spread=0.1),
}


def joint_information(pool: Pool, batch: list[int]) -> float:
    """H(y_1..y_n) - mean over members of sum of H_m(y_i), from the table of the joint distribution."""
    full = np.append(pool.probs, pool.rest[..., None], axis=2)
    tables = [functools.reduce(np.multiply.outer, [member[q] for q in batch], np.ones(())) for member in full]
    own = [sum(scipy_entropy(member[q]) for q in batch) for member in full]
    return float(scipy_entropy(np.mean(tables, axis=0).ravel()) - np.mean(own)) if batch else 0.0


def brute_gains(pool: Pool, batch: list[int]) -> np.ndarray:
    before = joint_information(pool, batch)
    return np.array([joint_information(pool, [*batch, question]) - before for question in range(len(pool))])


def gains_besides(pool: Pool, batch: list[int], seed: int = 0, **how: int) -> np.ndarray:
    asked = Asked(pool, np.random.default_rng(seed), **how)
    for question in batch:
        asked.add(question)
    return asked.gains()


@pytest.mark.parametrize("pool", CASES.values(), ids=CASES)
def test_a_batch_is_the_greedy_one_of_brute_force(pool: Pool) -> None:
    found = batch_bald(pool, 3)
    batch: list[int] = []
    for place in range(3):
        gains = brute_gains(pool, batch)
        gains[batch] = -1
        batch.append(int(gains.argmax()))
        assert found.scores[batch[-1]] == pytest.approx(gains.max(), abs=1e-12), place
    assert list(found.chosen) == batch
    others = [question for question in range(len(pool)) if question not in batch]
    np.testing.assert_allclose(found.scores[others], brute_gains(pool, batch)[others], atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(pools())
def test_gains_are_those_of_brute_force_with_zeros_and_copies(pool: Pool) -> None:
    batch = list(range(min(3, len(pool))))
    np.testing.assert_allclose(gains_besides(pool, batch), brute_gains(pool, batch), atol=1e-11)


@settings(max_examples=60, deadline=None)
@given(pools())
def test_no_gain_is_negative_or_grows_with_the_batch_and_all_are_ln_members_at_most(pool: Pool) -> None:
    alone = gains_besides(pool, [])
    np.testing.assert_allclose(alone, mutual_information(pool.probs, pool.rest), atol=1e-12)
    found = batch_bald(pool, len(pool))
    worth = found.scores[found.chosen]
    assert (worth >= 0).all() and (np.diff(worth) <= 1e-11).all() and (found.scores <= alone + 1e-11).all()
    assert worth.sum() <= np.log(len(pool.probs)) + 1e-11


@pytest.mark.parametrize("pool", CASES.values(), ids=CASES)
def test_drawn_gains_are_unbiased(pool: Pool) -> None:
    drawn = np.array([gains_besides(pool, [0, 1, 2], seed, limit=0, chains=20) for seed in range(400)])
    expected = brute_gains(pool, [0, 1, 2])
    error = drawn.std(axis=0, ddof=1) / np.sqrt(len(drawn))
    assert (np.abs(drawn.mean(axis=0) - expected) <= 4 * error + 1e-12).all()
    assert error.max() < 0.05 * expected.max()  # small enough to see a bias


@pytest.mark.parametrize("pool", CASES.values(), ids=CASES)
def test_many_drawn_answers_come_close_to_all(pool: Pool) -> None:
    drawn = gains_besides(pool, [0, 1, 2], limit=0, chains=20_000)
    np.testing.assert_allclose(drawn, brute_gains(pool, [0, 1, 2]), atol=0.005)


def test_drawing_begins_where_the_answers_are_more_than_the_limit() -> None:
    pool = CASES["text"]  # questions 0 and 1 have 3 and 2 choices
    for limit, exact in ((6, True), (5, False)):
        asked = Asked(pool, np.random.default_rng(0), limit=limit)
        asked.add(0)
        assert asked.exact
        asked.add(1)
        assert asked.exact == exact


def test_answers_that_leave_no_doubt_are_not_counted() -> None:
    certain, torn = np.eye(4), np.full((4, 4), 1 / 4)
    pool = text_pool(np.stack([certain, *[torn] * 20], axis=1))
    asked = Asked(pool, np.random.default_rng(0))
    for question in range(21):  # in 4^20 ways, had the first not told all
        asked.add(question)
    assert asked.exact and (asked.gains() == 0).all()


def test_draws_are_spread_evenly_over_what_a_member_would_answer() -> None:
    pool = CASES["letter"]
    expected = brute_gains(pool, [1])
    even = np.array([gains_besides(pool, [1], seed, limit=0, chains=6000) for seed in range(10)])
    # Drawn each for itself, as many would stray by 2/1000; a fourth as many, spread evenly, by 5/10,000.
    assert np.abs(even - expected).max() < 0.0003


class Extreme(np.random.Generator):
    """Draws nothing but the end of the range that it is told."""

    end = 0.0

    def random(self, shape: tuple[int, ...]) -> np.ndarray:  # type: ignore[override]
        return np.full(shape, self.end)


@pytest.mark.parametrize("end", [0.0, 1.0])
def test_the_ends_of_the_range_draw_no_answer_that_is_impossible(end: float) -> None:
    outer = np.array([[0, 0.5, 0.5, 0], [0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]])
    pool = text_pool(np.stack([outer, outer], axis=1))
    generator = Extreme(np.random.PCG64(0))
    generator.end = end
    asked = Asked(pool, generator, limit=0, chains=3)
    asked.add(0)
    # The first and the last answer of all give their members away. Neither is possible for the first member, whose
    # chain must be left in doubt.
    assert asked.gains()[1] > 0


def test_a_question_added_by_drawing_counts_as_one_enumerated_before() -> None:
    pool = CASES["letter"]
    for limit in (0, 5, 15, 100):  # drawn from the first, second, third question on, and never
        drawn = gains_besides(pool, [3, 1, 2], limit=limit, chains=20_000)
        np.testing.assert_allclose(drawn, brute_gains(pool, [3, 1, 2]), atol=0.005)


def test_a_chain_knows_what_its_own_member_holds_possible_alone() -> None:
    # An answer is either one that all hold possible, or the own one of the member that gives it.
    own = np.append(np.eye(4), np.ones((4, 1)), axis=1) / 2
    pool = text_pool(np.tile(own[:, None], (1, 6, 1)))
    drawn = np.array([gains_besides(pool, [0, 1], seed, limit=0, chains=40) for seed in range(200)])
    np.testing.assert_allclose(drawn.mean(axis=0), np.log(4) / 8, rtol=0.02)  # while both answers are the shared one


def test_probabilities_near_zero_over_a_long_batch_stay_finite() -> None:
    sure = np.array([[1 - 1e-12, 1e-12], [1e-300, 1.0], [0.999, 0.001]])
    pool = text_pool(np.tile(sure[:, None], (1, 300, 1)))
    found = batch_bald(pool, 200, limit=4, chains=12)
    assert np.isfinite(found.scores).all() and len(set(found.chosen)) == 200


def test_a_copy_of_a_question_that_is_answered_for_certain_gains_nothing() -> None:
    certain = np.eye(3)[[0, 1, 1, 2]]  # four members, three answers
    half = np.eye(3)[[0, 0, 1, 1]]
    pool = text_pool(np.stack([certain, certain, half], axis=1))
    assert gains_besides(pool, [0])[:2] == pytest.approx(0, abs=1e-12)
    found = batch_bald(pool, 2)
    assert sorted(found.chosen) in ([0, 2], [1, 2]) and found.scores[found.chosen].sum() == pytest.approx(np.log(4))


def test_when_all_is_told_mutual_information_goes_first_then_the_lot() -> None:
    certain, half = np.eye(2)[[0, 1]], [[0.5, 0.5]] * 2
    weak, weaker = [[0.7, 0.3], [0.3, 0.7]], [[0.6, 0.4], [0.4, 0.6]]
    pool = text_pool(np.stack([half, weaker, certain, weak, half], axis=1))
    batches = [batch_bald(pool, 5, seed=seed) for seed in range(20)]
    assert all(list(batch.chosen[:3]) == [2, 3, 1] for batch in batches)
    assert {int(batch.chosen[3]) for batch in batches} == {0, 4}
    assert batches[0].scores == pytest.approx([0, 0, np.log(2), 0, 0])


def test_the_order_of_the_members_changes_no_draw() -> None:
    pool = CASES["letter"]
    turned = Pool(probs=pool.probs[[2, 0, 1]], rest=pool.rest[[2, 0, 1]])
    how = {"limit": 3, "chains": 30}
    assert (gains_besides(pool, [0, 2], **how) == gains_besides(turned, [0, 2], **how)).all()


def test_large_pools_are_mixed_in_parts_without_a_seam() -> None:
    pool = random_pool(5, members=4, choices=[3] * 1500, rest=True)
    found = gains_besides(pool, [0, 1, 2, 3])
    some = [0, 4, 700, 1023, 1024, 1499]
    small = Pool(probs=pool.probs[:, [0, 1, 2, 3, *some]], rest=pool.rest[:, [0, 1, 2, 3, *some]])
    np.testing.assert_allclose(found[some], brute_gains(small, [0, 1, 2, 3])[4:], atol=1e-12)


def test_single_precision_is_taken() -> None:
    pool = CASES["text"]
    single = Pool(probs=pool.probs.astype(np.float32), rest=pool.rest.astype(np.float32))
    assert list(batch_bald(single, 3).chosen) == list(batch_bald(pool, 3).chosen)
    np.testing.assert_allclose(batch_bald(single, 3).scores, batch_bald(pool, 3).scores, atol=1e-6)
