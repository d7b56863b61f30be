"""The entropy of an ensemble's answer, split into what the question leaves open and what the members disagree on.

All in nats, all "higher = more uncertain", over the candidates and one bucket that holds the rest of the probability:

    predictive (total)     H   = -sum_c p_c log p_c          with p = mean over members of p_m
    expected (aleatoric)   E   = mean over members of -sum_c p_mc log p_mc
    mutual information     MI  = H - E  (epistemic)          0 <= MI <= min(log M, H)

Source: Balabanov and Linander, arXiv 2402.12264; Depeweg et al., arXiv 1710.07283.
"""

import numpy as np
from jaxtyping import Float, Float64

RESOLUTION = 1e-12
"""Nats. Members that agree leave a difference of rounding errors, some of them below zero; ranked as if they meant
something, they would tell an untouched model's right answers from its wrong ones."""


def predictive_entropy(
    probs: Float[np.ndarray, "member example candidate"], rest: Float[np.ndarray, "member example"]
) -> Float64[np.ndarray, "example"]:
    """Total uncertainty: the entropy of the mean of the members' distributions, in nats."""
    return entropy(probs.mean(axis=0, dtype=np.float64), rest.mean(axis=0, dtype=np.float64))


def expected_entropy(
    probs: Float[np.ndarray, "member example candidate"], rest: Float[np.ndarray, "member example"]
) -> Float64[np.ndarray, "example"]:
    """Aleatoric uncertainty: the mean of the members' own entropies, in nats."""
    return entropy(probs, rest).mean(axis=0)


def mutual_information(
    probs: Float[np.ndarray, "member example candidate"], rest: Float[np.ndarray, "member example"]
) -> Float64[np.ndarray, "example"]:
    """Epistemic uncertainty: how much of the predictive entropy is the members' disagreement, in nats."""
    difference = predictive_entropy(probs, rest) - expected_entropy(probs, rest)
    return np.where(difference > RESOLUTION, difference, 0.0)


def entropy(
    probs: Float[np.ndarray, "*axes candidate"], rest: Float[np.ndarray, "*axes"]
) -> Float64[np.ndarray, "*axes"]:
    """Entropy of each distribution over its candidates and its rest, in nats; 0 log 0 is 0."""
    # Probabilities that add up to a little over one would put a certain answer's entropy just below zero.
    return np.maximum(_surprise(probs).sum(axis=-1) + _surprise(rest), 0.0)


def _surprise(p: Float[np.ndarray, "*axes"]) -> Float64[np.ndarray, "*axes"]:
    p = p.astype(np.float64)
    return -p * np.log(p, where=p > 0, out=np.zeros_like(p))
