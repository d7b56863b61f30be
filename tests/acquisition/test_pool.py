"""What a pool refuses, and how ties and counts are dealt with for all acquisition functions."""

import numpy as np
import pytest

from kvorum.acquisition import ACQUISITION_NAMES, ACQUISITIONS, NEED_HIDDEN, Pool
from kvorum.acquisition.pool import foremost, top
from kvorum.errors import KvorumError
from tests.acquisition.pools import text_pool


def halves(questions: int) -> np.ndarray:
    return np.full((2, questions, 2), 0.5)


def test_every_name_has_its_function() -> None:
    assert tuple(ACQUISITIONS) == ACQUISITION_NAMES
    assert all(ACQUISITIONS[name].__name__ == name for name in ACQUISITION_NAMES)


def test_those_that_need_hidden_states_refuse_a_pool_without_and_no_other_does() -> None:
    pool = text_pool(halves(3))
    for name, choose in ACQUISITIONS.items():
        if name in NEED_HIDDEN:
            with pytest.raises(KvorumError, match="hidden"):
                choose(pool, 1)
        else:
            assert len(choose(pool, 1).chosen) == 1


@pytest.mark.parametrize("count", [0, -1])
@pytest.mark.parametrize("name", ACQUISITION_NAMES)
def test_a_batch_of_nothing_is_refused(name: str, count: int) -> None:
    pool = Pool(probs=halves(3), rest=np.zeros((2, 3)), hidden=np.eye(3))
    with pytest.raises(KvorumError, match=f"count is {count}"):
        ACQUISITIONS[name](pool, count)


@pytest.mark.parametrize("name", ACQUISITION_NAMES)
def test_of_a_pool_smaller_than_the_batch_the_whole_is_chosen(name: str) -> None:
    pool = Pool(probs=halves(3), rest=np.zeros((2, 3)), hidden=np.eye(3))
    assert sorted(ACQUISITIONS[name](pool, 7).chosen) == [0, 1, 2]


@pytest.mark.parametrize(
    ("probs", "rest", "hidden", "words"),
    [
        (np.zeros((0, 3, 2)), np.zeros((0, 3)), None, "nothing to choose"),
        (np.zeros((2, 0, 2)), np.zeros((2, 0)), None, "nothing to choose"),
        (np.zeros((2, 3, 0)), np.ones((2, 3)), None, "nothing to choose"),
        (np.where(np.arange(3)[:, None] == 1, np.nan, halves(3)), np.zeros((2, 3)), None, "question 2, member 0"),
        (halves(3), np.full((2, 3), 0.1), None, "question 1, member 0"),
        (np.tile([1.1, -0.1], (2, 3, 1)), np.zeros((2, 3)), None, "none below 0"),
        (halves(3), np.zeros((2, 3)), np.full((3, 4), np.inf), "hidden holds nan or infinity"),
    ],
)
def test_a_pool_says_what_is_wrong_with_it(probs, rest, hidden, words: str) -> None:
    with pytest.raises(KvorumError, match=words):
        Pool(probs=probs, rest=rest, hidden=hidden)


def test_ties_are_drawn_by_lot_and_every_question_is_drawn() -> None:
    drawn = np.array([top(np.array([1.0, 2.0, 2.0 + 1e-14, 2.0]), 1, seed=seed).chosen[0] for seed in range(300)])
    counts = np.bincount(drawn, minlength=4)
    assert counts[0] == 0 and (counts[1:] > 70).all()


def test_the_foremost_goes_by_the_first_score_then_the_next_then_the_lot() -> None:
    lot = np.array([3, 2, 1, 0])
    first, second = np.array([-np.inf, 1.0, 1.0 - 1e-14, 0.5]), np.array([9.0, 2.0, 3.0, 9.0])
    assert foremost(first, second, lot=lot) == 2
    assert foremost(first, np.zeros(4), lot=lot) == 2 and foremost(first, np.zeros(4), lot=lot[::-1].copy()) == 1
    assert foremost(np.array([0.0, 0.0, 1e-9, 0.0]), second, lot=lot) == 2
