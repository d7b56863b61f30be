"""Accuracy, negative log-likelihood and Brier score against scikit-learn, torchmetrics and closed forms."""

import numpy as np
import pytest
import torch
from sklearn.metrics import brier_score_loss, log_loss
from torchmetrics.functional.classification import multiclass_accuracy

from kvorum.errors import KvorumError
from kvorum.uncertainty import brier, correct, nll, predicted


@pytest.fixture
def answered() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.dirichlet(np.ones(5) * 0.5, size=300), rng.integers(0, 5, 300)


def test_accuracy_agrees_with_torchmetrics(answered):
    probs, answers = answered
    independent = multiclass_accuracy(torch.tensor(probs), torch.tensor(answers), num_classes=5, average="micro")
    assert correct(probs, answers).mean() == pytest.approx(independent.item(), abs=1e-6)


def test_nll_agrees_with_scikit_learn(answered):
    probs, answers = answered
    assert nll(probs, answers).mean() == pytest.approx(log_loss(answers, probs, labels=range(5)), abs=1e-6)


def test_brier_agrees_with_scikit_learn(answered):
    probs, answers = answered
    independent = brier_score_loss(answers, probs, labels=range(5), scale_by_half=False)
    assert brier(probs, np.zeros(300), answers).mean() == pytest.approx(independent, abs=1e-6)


def test_brier_counts_the_rest_as_a_candidate_that_is_never_right(answered):
    probs, answers = answered
    independent = brier_score_loss(answers % 4, probs, labels=range(5), scale_by_half=False)
    assert brier(probs[:, :4], probs[:, 4], answers % 4).mean() == pytest.approx(independent, abs=1e-6)


def test_certain_answers():
    right, wrong = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])
    answers, rest = np.array([0]), np.zeros(1)
    assert (nll(right, answers), brier(right, rest, answers)) == (0, 0)
    assert brier(wrong, rest, answers) == 2
    assert brier(np.zeros((1, 2)), np.ones(1), answers) == 2


def test_a_uniform_guess_costs_ln_of_the_number_of_candidates():
    answers = np.array([2])
    assert nll(np.full((1, 4), 0.25), answers) == pytest.approx(np.log(4))
    assert brier(np.full((1, 4), 0.25), np.zeros(1), answers) == pytest.approx(0.75)


def test_what_went_to_the_rest_is_a_cost_of_the_nll():
    assert nll(np.array([[0.5, 0.0]]), np.array([0])) == pytest.approx(np.log(2))


def test_a_probability_of_zero_costs_much_but_not_infinitely_much():
    assert nll(np.array([[1.0, 0.0]]), np.array([1])) == pytest.approx(708.4, abs=0.01)


def test_the_first_of_equal_candidates_is_predicted():
    assert predicted(np.array([[0.2, 0.4, 0.4], [0.0, 0.0, 0.0]])).tolist() == [1, 0]


def test_members_are_scored_each_for_itself(answered):
    probs, answers = answered
    members, rest = np.stack([probs, probs[:, ::-1]]), np.zeros((2, 300))
    for score in (nll, correct):
        np.testing.assert_array_equal(score(members, answers)[1], score(members[1], answers))
    np.testing.assert_array_equal(brier(members, rest, answers)[1], brier(members[1], rest[1], answers))


@pytest.mark.parametrize("answer", [-1, 5])
def test_an_answer_that_is_no_candidate_is_refused(answered, answer):
    probs, answers = answered
    answers[7] = answer
    for score in (nll, correct, lambda p, a: brier(p, np.zeros(300), a)):
        with pytest.raises(KvorumError, match=f"question 8: the answer is {answer}; expected 0 to 4"):
            score(probs, answers)
