"""PowerBALD draws in proportion to mutual information."""

import numpy as np
from scipy.stats import chisquare

from kvorum.acquisition.power_bald import FLOOR, power_bald
from kvorum.uncertainty import mutual_information
from tests.acquisition.pools import random_pool, text_pool

POOL = random_pool(1, members=4, choices=[2, 3, 4, 2, 3], rest=True)
INFORMATION = mutual_information(POOL.probs, POOL.rest)
BATCHES = [power_bald(POOL, 2, seed=seed).chosen for seed in range(4000)]


def test_the_first_choice_is_drawn_in_proportion_to_mutual_information() -> None:
    counts = np.bincount([first for first, _ in BATCHES], minlength=5)
    shares = INFORMATION / INFORMATION.sum()
    assert INFORMATION.max() > 1.5 * INFORMATION.min()
    assert chisquare(counts, 4000 * shares).pvalue > 0.001
    assert chisquare(counts).pvalue < 1e-6  # as many draws tell it from an equal share for all


def test_the_second_choice_is_drawn_likewise_among_those_left() -> None:
    pairs = np.bincount([5 * first + second for first, second in BATCHES], minlength=25).reshape(5, 5)
    first = INFORMATION / INFORMATION.sum()
    expected = first[:, None] * INFORMATION / (INFORMATION.sum() - INFORMATION)[:, None]
    apart = ~np.eye(5, dtype=bool)
    assert pairs[~apart].sum() == 0
    assert chisquare(pairs[apart], 4000 * expected[apart]).pvalue > 0.001


def test_questions_without_mutual_information_come_last_with_a_finite_score() -> None:
    torn, told, barely = [[0.5, 0.5]] * 2, [[1, 0], [0, 1]], [[0.5, 0.5], [0.50001, 0.49999]]
    pool = text_pool(np.array([torn, told, torn, barely, torn]).transpose(1, 0, 2))
    lasts = set()
    for seed in range(50):
        batch = power_bald(pool, 5, seed=seed)
        assert set(batch.chosen[:2]) == {1, 3}
        assert (batch.scores[[0, 2, 4]] == FLOOR).all() and batch.scores[[1, 3]].min() > FLOOR
        lasts.add(int(batch.chosen[-1]))
    assert lasts == {0, 2, 4}


def test_no_draw_falls_below_the_floor() -> None:
    # Of the least double above 0, and of the least mutual information that counts.
    lowest = -np.log(-np.log(2.0**-53)) + np.log(1e-12)
    assert lowest > FLOOR
