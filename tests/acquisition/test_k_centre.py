"""k-centre against a brute force of its own, and what is known of it."""

import itertools
import time

import numpy as np
import pytest

from kvorum.acquisition import Batch, Pool
from kvorum.acquisition.k_centre import k_centre


def pool_at(hidden: np.ndarray, labelled: np.ndarray | None = None) -> Pool:
    ones = np.ones((1, len(hidden), 1))
    return Pool(probs=ones, rest=np.zeros((1, len(hidden))), hidden=hidden, labelled_hidden=labelled)


def brute_force(hidden: np.ndarray, labelled: np.ndarray, count: int) -> tuple[list[int], list[float]]:
    """Every distance anew at every step."""
    chosen: list[int] = []
    scores = [0.0] * len(hidden)
    for _ in range(count):
        centres = [*labelled, *(hidden[i] for i in chosen)]
        if centres:
            far = [min(float(np.linalg.norm(h - centre)) for centre in centres) for h in hidden]
        else:
            far = [float(np.linalg.norm(h - hidden.mean(axis=0))) for h in hidden]
        pick = max((i for i in range(len(hidden)) if i not in chosen), key=lambda i: far[i])
        scores[pick] = far[pick] if centres else max(float(np.linalg.norm(h - hidden[pick])) for h in hidden)
        chosen.append(pick)
    centres = [*labelled, *(hidden[i] for i in chosen)]
    for i in set(range(len(hidden))) - set(chosen):
        scores[i] = min(float(np.linalg.norm(hidden[i] - centre)) for centre in centres)
    return chosen, scores


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("labelled", [0, 1, 300])
def test_the_same_as_brute_force(labelled: int, dtype: type) -> None:
    random = np.random.default_rng(labelled)
    # Far from the origin, as hidden states are.
    hidden, centres = ((random.normal(size=(rows, 7)) + 40).astype(dtype) for rows in (40, labelled))
    found = k_centre(pool_at(hidden, centres), 9)
    chosen, scores = brute_force(hidden.astype(np.float64), centres.astype(np.float64), 9)
    assert list(found.chosen) == chosen
    np.testing.assert_allclose(found.scores, scores, rtol=1e-9)


def test_without_labelled_questions_none_and_no_rows_are_the_same() -> None:
    hidden = np.random.default_rng(0).normal(size=(12, 3))
    none, empty = k_centre(pool_at(hidden), 4), k_centre(pool_at(hidden, np.zeros((0, 3))), 4)
    assert list(none.chosen) == list(empty.chosen) and (none.scores == empty.scores).all()


def test_on_a_line_ends_come_first_then_the_middle() -> None:
    found = k_centre(pool_at(np.array([[0.0], [1], [2], [4], [9]])), 3)
    assert list(found.chosen) == [4, 0, 3]
    assert list(found.scores) == pytest.approx([9, 1, 2, 4, 9])


def test_labelled_questions_keep_their_surroundings_from_being_chosen() -> None:
    found = k_centre(pool_at(np.array([[0.0], [1], [2], [4], [9]]), np.array([[9.0], [0.5]])), 1)
    assert list(found.chosen) == [3] and found.scores[3] == pytest.approx(3.5)


def test_copies_are_worth_nothing_however_far_from_the_origin() -> None:
    states = np.random.default_rng(1).normal(size=(3, 64)) * 30 + 1000
    found = k_centre(pool_at(states[[0, 1, 2, 0, 1, 2]]), 6)
    assert sorted(found.chosen[:3] % 3) == [0, 1, 2]
    assert (found.scores[found.chosen[3:]] == 0).all() and (found.scores[found.chosen[:3]] > 100).all()


@pytest.mark.parametrize("seed", range(5))
def test_the_largest_distance_is_at_most_twice_the_least_possible(seed: int) -> None:
    hidden = np.random.default_rng(seed).normal(size=(9, 2))
    distances = np.linalg.norm(hidden[:, None] - hidden, axis=2)
    least = min(distances[list(centres)].min(axis=0).max() for centres in itertools.combinations(range(9), 3))
    found = k_centre(pool_at(hidden), 3)
    assert distances[found.chosen].min(axis=0).max() <= 2 * least


def test_a_single_question_is_chosen() -> None:
    found = k_centre(pool_at(np.ones((1, 4))), 3)
    assert list(found.chosen) == [0] and list(found.scores) == [0]


@pytest.mark.slow
def test_twenty_thousand_questions_take_seconds() -> None:
    random = np.random.default_rng(0)
    hidden, labelled = (random.normal(size=(rows, 576)).astype(np.float32) for rows in (20_000, 500))
    begin = time.process_time()
    found: Batch = k_centre(pool_at(hidden, labelled), 50)
    assert len(set(found.chosen)) == 50
    assert time.process_time() - begin < 30
