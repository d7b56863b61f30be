"""The guarantees on new questions of the same kind, over many calibrations."""

import math

import numpy as np

from kvorum.decisions import calibrate, decide
from kvorum.errors import KvorumError
from kvorum.uncertainty.conformal import METHODS
from tests.decisions.conftest import make

ROUNDS = 100


def test_risk_on_the_population_is_above_the_target_in_no_more_than_one_case_of_twenty() -> None:
    population = make(20_000, seed=99)
    exceeded = answered = 0
    for seed in range(ROUNDS):
        rows = np.random.default_rng(seed).choice(20_000, 600, replace=False)
        try:
            found = calibrate(population.select(examples=rows), target_risk=0.25)
        except KvorumError:
            continue  # nothing is promised
        decided = decide(population, found).answered
        answered += 1
        exceeded += (~population.correct)[decided].mean() > 0.25
    assert answered >= 90
    assert exceeded / ROUNDS <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / ROUNDS)


def test_sets_hold_the_right_answer_as_often_as_promised() -> None:
    population = make(20_000, seed=98)
    covered = {method: [] for method in METHODS}
    for seed in range(ROUNDS):
        rows = np.random.default_rng(seed).choice(20_000, 200, replace=False)
        found = calibrate(population.select(examples=rows), coverage=1.0, alpha=0.1)
        sets = decide(population, found).sets
        for method in METHODS:
            covered[method].append(sets[method][np.arange(20_000), population.answers].mean())
            assert sets[method].mean() < 1
    for rates in covered.values():
        assert 0.89 <= np.mean(rates) <= 0.93
