"""Answer sets against MAPIE, brute force and their guarantee."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from mapie.classification import SplitConformalClassifier
from scipy.stats import beta
from sklearn.base import BaseEstimator, ClassifierMixin

from kvorum.uncertainty.conformal import (
    METHODS,
    conformal_rank,
    conformal_sets,
    conformal_threshold,
    coverage_bound,
    nonconformity,
)


class Given(ClassifierMixin, BaseEstimator):
    """A classifier whose inputs are its probabilities."""

    def fit(self, x: np.ndarray, y: np.ndarray) -> "Given":
        self.classes_ = np.unique(y)
        self.is_fitted_ = True
        return self

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        return x

    def predict(self, x: np.ndarray) -> np.ndarray:
        return x.argmax(1)


def answered(generator: np.random.Generator, questions: int, candidates: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities, and answers drawn from others that are flatter, so that the model is overconfident."""
    probs = generator.dirichlet(np.full(candidates, 0.5), questions)
    truth = 0.7 * probs + 0.3 / candidates
    return probs, (generator.random((questions, 1)) > truth.cumsum(1)).sum(1).clip(max=candidates - 1)


def mapie(score: str, probs: np.ndarray, answers: np.ndarray, new: np.ndarray, alpha: float, **how: object) -> tuple:
    classifier = Given().fit(probs, np.arange(probs.shape[1]))
    conformal = SplitConformalClassifier(classifier, confidence_level=1 - alpha, conformity_score=score, prefit=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        conformal.conformalize(probs, answers)
        _, sets = conformal.predict_set(new, conformity_score_params=how or None)
    return conformal, sets[:, :, 0]


@pytest.mark.parametrize("questions", [19, 100, 257])
def test_lac_sets_are_those_of_mapie(questions: int) -> None:
    generator = np.random.default_rng(questions)
    probs, answers = answered(generator, questions)
    new, _ = answered(generator, 300)
    _, theirs = mapie("lac", probs, answers, new, 0.1)
    ours = conformal_sets("lac", new, np.full(300, 4), conformal_threshold("lac", probs, answers, 0.1))
    assert (ours == theirs).all()
    assert 0 < ours.mean() < 1


def test_adaptive_sets_are_those_of_mapie_at_its_threshold() -> None:
    """MAPIE's threshold is of another score (the right answer's own probability counts); its sets are the same."""
    generator = np.random.default_rng(3)
    probs, answers = answered(generator, 200)
    new, _ = answered(generator, 300)
    conformal, theirs = mapie("aps", probs, answers, new, 0.1, include_last_label=True)
    threshold = float(conformal._mapie_classifier.conformity_score_function_.quantiles_[0])
    ours = conformal_sets("adaptive", new, np.full(300, 4), threshold - 1e-9)
    assert (ours == theirs).all()
    assert 1 < ours.sum(1).mean() < 4


@given(
    npst.arrays(float, (7, 4), elements=st.sampled_from([0.0, 0.1, 0.2, 0.4])),
)
@settings(max_examples=50, deadline=None)
def test_adaptive_score_is_the_mass_of_what_is_likelier(probs: np.ndarray) -> None:
    found = nonconformity("adaptive", probs)
    for row, scores in zip(probs, found, strict=True):
        for candidate, score in enumerate(scores):
            assert score == pytest.approx(row[row > row[candidate]].sum())


def test_an_adaptive_set_is_never_empty_and_lac_leaves_out_what_no_question_has() -> None:
    probs = np.array([[0.99, 0.01, 0.0], [0.4, 0.6, 0.0]])
    assert conformal_sets("adaptive", probs, np.array([3, 2]), 0.0).tolist() == [
        [True, False, False],
        [False, True, False],
    ]
    assert conformal_sets("lac", probs, np.array([3, 2]), np.inf).tolist() == [[True] * 3, [True, True, False]]


@pytest.mark.parametrize("method", METHODS)
def test_coverage_over_many_calibrations_is_within_the_guarantee(method: str) -> None:
    generator, alpha, questions, rounds = np.random.default_rng(4), 0.2, 60, 400
    covered = []
    for _ in range(rounds):
        probs, answers = answered(generator, questions)
        threshold = conformal_threshold(method, probs, answers, alpha)
        new, right = answered(generator, 200)
        sets = conformal_sets(method, new, np.full(200, 4), threshold)
        covered.append(sets[np.arange(200), right].mean())
    assert np.mean(covered) >= 1 - alpha - 0.01
    if method == "lac":  # without ties it is not much above, either
        assert np.mean(covered) <= 1 - alpha + 1 / (questions + 1) + 0.01
    # For one calibration the coverage falls below its bound in one case of twenty, but for what 200 questions tell.
    bound = coverage_bound(questions, alpha, 0.95)
    assert np.mean(np.array(covered) < bound - 2 * math.sqrt(bound * (1 - bound) / 200)) < 0.05


def test_rank_and_bound_in_closed_form() -> None:
    assert [conformal_rank(n, 0.1) for n in (8, 9, 10, 19, 99)] == [9, 9, 10, 18, 90]
    assert conformal_threshold("lac", np.full((8, 2), 0.5), np.zeros(8, np.int64), 0.1) == np.inf
    assert coverage_bound(8, 0.1, 0.95) == 1
    # The largest of n scores covers what the largest of n uniform numbers does.
    assert coverage_bound(9, 0.1, 0.95) == pytest.approx(0.05 ** (1 / 9))
    assert coverage_bound(99, 0.1, 0.95) == pytest.approx(beta(90, 10).ppf(0.05))
