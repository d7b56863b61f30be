"""The temperature against torch's own minimisation, and what it must leave alone."""

import numpy as np
import pytest
import torch

from kvorum.uncertainty.temperature import at_temperature, fit_temperature


def overconfident(generator: np.random.Generator, questions: int, sharpness: float) -> tuple[np.ndarray, np.ndarray]:
    """Logits by which answers are drawn, made sharper than they were."""
    logits = generator.normal(size=(questions, 4)) * 1.5
    truth = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    answers = (generator.random((questions, 1)) > truth.cumsum(1)).sum(1).clip(max=3)
    sharp = np.exp(logits * sharpness)
    return sharp / sharp.sum(1, keepdims=True), answers


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 3.0])
def test_temperature_undoes_what_made_the_logits_sharper(sharpness: float) -> None:
    probs, answers = overconfident(np.random.default_rng(0), 20_000, sharpness)
    found = fit_temperature(probs, np.zeros(len(probs)), answers)
    assert found == pytest.approx(sharpness, rel=0.05)


def test_it_is_the_least_nll_that_torch_finds_with_a_rest_beside_the_candidates() -> None:
    probs, answers = overconfident(np.random.default_rng(1), 300, 2.0)
    probs, rest = probs * 0.9, np.full(300, 0.1)
    logs = torch.log(torch.tensor(np.concatenate([probs, rest[:, None]], 1)))
    inverse = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([inverse], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(logs * inverse, torch.tensor(answers))
        loss.backward()
        return loss

    optimizer.step(closure)
    assert fit_temperature(probs, rest, answers) == pytest.approx(1 / inverse.item(), rel=1e-4)


def test_the_answer_stays_and_absent_candidates_stay_absent() -> None:
    probs = np.array([[0.6, 0.4, 0.0], [0.2, 0.3, 0.4]])
    rest = np.array([0.0, 0.1])
    for temperature in (0.05, 0.7, 4.0, 20.0):
        mean, left = at_temperature(probs, rest, temperature)
        assert mean.argmax(1).tolist() == [0, 2]
        assert mean[0, 2] == left[0] == 0
        assert np.allclose(mean.sum(1) + left, 1)
    same, left = at_temperature(probs, rest, 1.0)
    assert np.array_equal(same, probs) and np.array_equal(left, rest)
    hot, _ = at_temperature(probs, rest, 2.0)
    assert hot[0, 0] == pytest.approx(0.6**0.5 / (0.6**0.5 + 0.4**0.5))
