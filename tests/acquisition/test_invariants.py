"""What holds of every acquisition function."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvorum.acquisition import ACQUISITION_NAMES, ACQUISITIONS, Pool
from tests.acquisition.pools import permuted, pools, random_pool

pytestmark = pytest.mark.filterwarnings("error")

DETERMINISTIC = [name for name in ACQUISITION_NAMES if name not in {"random", "power_bald"}]
names = pytest.mark.parametrize("name", ACQUISITION_NAMES)
quick = settings(max_examples=40, deadline=None)


@names
@quick
@given(pools(), st.integers(1, 8), st.integers(0, 2**20))
def test_a_batch_holds_different_questions_of_the_pool_and_all_scores_are_finite(name, pool, count, seed) -> None:
    found = ACQUISITIONS[name](pool, count, seed=seed)
    assert len(found.chosen) == len(set(found.chosen)) == min(count, len(pool))
    assert set(found.chosen) <= set(range(len(pool)))
    assert found.scores.shape == (len(pool),) and np.isfinite(found.scores).all()


@names
@quick
@given(pools(), st.integers(1, 4), st.integers(0, 2**20))
def test_the_same_seed_gives_the_same_batch(name, pool, count, seed) -> None:
    once, again = (ACQUISITIONS[name](pool, count, seed=seed) for _ in range(2))
    assert list(once.chosen) == list(again.chosen) and (once.scores == again.scores).all()


@names
@quick
@given(pools(), st.integers(1, 4), st.data())
def test_the_order_of_the_members_changes_nothing(name, pool, count, data) -> None:
    order = data.draw(st.permutations(range(len(pool.probs))))
    turned = Pool(
        probs=pool.probs[order], rest=pool.rest[order], hidden=pool.hidden, labelled_hidden=pool.labelled_hidden
    )
    before, after = (ACQUISITIONS[name](each, count, seed=3) for each in (pool, turned))
    assert list(before.chosen) == list(after.chosen)
    np.testing.assert_allclose(before.scores, after.scores, atol=1e-10)


@pytest.mark.parametrize("name", DETERMINISTIC)
@quick
@given(st.integers(0, 2**20), st.permutations(range(7)), st.booleans())
def test_the_order_of_the_questions_changes_no_choice(name, seed, order, rest) -> None:
    # Of a continuous distribution, so that no two scores are the same.
    plain = random_pool(seed, members=3, choices=[2, 3, 3, 4, 2, 3, 4], rest=rest)
    states = np.random.default_rng(seed).normal(size=(10, 3))
    pool = Pool(probs=plain.probs, rest=plain.rest, hidden=states[:7], labelled_hidden=states[7:])
    before = ACQUISITIONS[name](pool, 3, seed=1)
    after = ACQUISITIONS[name](permuted(pool, np.array(order)), 3, seed=2)
    assert [order[place] for place in after.chosen] == list(before.chosen)
    np.testing.assert_allclose(after.scores, before.scores[order], atol=1e-10)


@names
def test_no_global_lot_is_drawn_from_or_moved(name: str) -> None:
    plain = random_pool(0, members=3, choices=[3] * 6, rest=True)
    pool = Pool(probs=plain.probs, rest=plain.rest, hidden=np.eye(6))
    state = np.random.get_state()[1].copy()
    ACQUISITIONS[name](pool, 3)
    assert (np.random.get_state()[1] == state).all()
