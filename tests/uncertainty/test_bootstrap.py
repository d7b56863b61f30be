"""Bootstrap intervals: their coverage where the truth is known, their width where theory gives it, their seeds."""

import numpy as np
import pytest

import kvorum.uncertainty.bootstrap as module
from kvorum.errors import KvorumError
from kvorum.uncertainty.bootstrap import bootstrap, resampled_counts, resampled_means


def interval_of_the_mean(values: np.ndarray, **settings) -> dict[str, float]:
    def statistics(counts):
        return {"mean": resampled_means(values[:, None], counts)[:, 0]}

    return bootstrap(statistics, [len(values)], **settings)["mean"]


def test_an_interval_of_the_mean_is_as_wide_as_theory_says():
    values = np.random.default_rng(0).normal(3, 2, size=2000)
    found = interval_of_the_mean(values, resamples=4000)
    margin = 1.959964 * values.std() / np.sqrt(2000)
    assert found["value"] == pytest.approx(values.mean())
    assert found["low"] == pytest.approx(values.mean() - margin, abs=0.08 * margin)
    assert found["high"] == pytest.approx(values.mean() + margin, abs=0.08 * margin)


def test_95_of_100_intervals_hold_the_truth():
    rng = np.random.default_rng(1)
    held = 0
    for seed in range(400):
        found = interval_of_the_mean((rng.random(150) < 0.7).astype(float), resamples=300, seed=seed)
        held += found["low"] <= 0.7 <= found["high"]
    # Four standard errors of 400 draws at 0.94, what a percentile interval of 150 questions attains.
    assert held / 400 == pytest.approx(0.94, abs=0.048)


def test_a_reflected_interval_covers_a_truth_that_its_statistic_always_overshoots():
    """|mean| of a normal sample with mean 0.05 is biased upward, as a calibration error is."""
    rng = np.random.default_rng(2)
    held = {"plain": 0, "reflected": 0}
    for seed in range(200):
        values = rng.normal(0.05, 1, size=(100, 10))

        def statistics(counts, values=values):
            sums = np.abs(resampled_means(values, counts)).mean(axis=1)
            return {"plain": sums, "reflected": sums}

        for name, found in bootstrap(statistics, [100], resamples=200, seed=seed, reflected=["reflected"]).items():
            held[name] += found["low"] <= 0.05 <= found["high"]
            assert name == "plain" or 0 <= found["low"] <= found["value"] <= found["high"]
    assert held["plain"] < 60
    assert held["reflected"] > 150


def test_a_lower_level_gives_a_narrower_interval_of_just_that_share():
    values = np.random.default_rng(4).normal(size=1000)
    whole, half = (interval_of_the_mean(values, resamples=4000, level=level) for level in (0.95, 0.5))
    assert (half["high"] - half["low"]) / (whole["high"] - whole["low"]) == pytest.approx(0.6745 / 1.96, rel=0.06)


def test_a_seed_gives_the_same_interval_again_and_another_seed_another():
    values = np.random.default_rng(0).random(50)
    first, again, other = (interval_of_the_mean(values, seed=seed) for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_how_the_resamples_are_split_into_chunks_changes_nothing(monkeypatch):
    whole = np.concatenate(list(resampled_counts([30, 41], resamples=50, seed=0)))
    monkeypatch.setattr(module, "COUNTS_BYTES", 7 * 8 * 71)
    chunks = list(resampled_counts([30, 41], resamples=50, seed=0))
    assert [len(chunk) for chunk in chunks] == [7] * 7 + [1]
    np.testing.assert_array_equal(np.concatenate(chunks), whole)


def test_each_stratum_keeps_its_size_and_is_drawn_for_itself():
    counts = np.concatenate(list(resampled_counts([30, 0, 30], resamples=200, seed=0)))
    assert (counts[:, :30].sum(axis=1) == 30).all()
    assert (counts[:, 30:].sum(axis=1) == 30).all()
    assert (counts[:, :30] != counts[:, 30:]).any()
    # A count is binomial(30, 1/30): mean 1, variance 29/30.
    assert counts.var() == pytest.approx(29 / 30, rel=0.05)


def test_resamples_without_a_value_are_left_out():
    rare = np.array([True] + [False] * 9)

    def statistics(counts):
        return {"rare": resampled_means(np.full((1, 1), 5.0), counts[:, rare])[:, 0]}

    assert bootstrap(statistics, [10])["rare"] == {"value": 5, "low": 5, "high": 5}


def test_what_is_not_defined_is_none():
    assert interval_of_the_mean(np.zeros(0)) == {"value": None, "low": None, "high": None}


def test_no_resamples_are_refused():
    with pytest.raises(KvorumError, match="resamples is 0; expected 1 or more"):
        interval_of_the_mean(np.ones(3), resamples=0)
