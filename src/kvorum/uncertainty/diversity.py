"""How different the members are from each other, two by two.

    disagreement(i, j) = share of questions on which i and j give different answers, 0 to 1
    KL(i || j)         = mean over questions of sum_c p_ic log(p_ic / p_jc), over candidates and rest, in nats

An ensemble whose members answer alike is one member at M times the cost: its mutual information says nothing.
Disagreement as in Fort, Hu and Lakshminarayanan, arXiv 1912.02757.
"""

from typing import Any

import numpy as np
from jaxtyping import Float, Float64

from kvorum.uncertainty.bootstrap import bootstrap, resampled_means
from kvorum.uncertainty.scores import SMALLEST, predicted

COLLAPSED = 1e-3
"""Nats. Below this mean KL between members they have collapsed: the least that the paper's runs show, after their first
epoch, is ten times as much (a mutual information of .005 is a mean KL of about .01)."""


def pairwise_disagreement(
    probs: Float[np.ndarray, "member example candidate"],
) -> Float64[np.ndarray, "member member"]:
    """The share of questions on which each two members give different answers."""
    votes = predicted(probs)
    return np.array([(votes != one).sum(axis=1) for one in votes]) / max(1, probs.shape[1])


def pairwise_kl(
    probs: Float[np.ndarray, "member example candidate"], rest: Float[np.ndarray, "member example"]
) -> Float64[np.ndarray, "member member"]:
    """KL(row || column) of each two members, a mean over questions, in nats."""
    p, log_p = _flat_logs(probs, rest)
    questions = max(1, probs.shape[1])
    p, log_p = p.reshape(len(p), -1), log_p.reshape(len(p), -1)
    return np.maximum(((p * log_p).sum(axis=1)[:, None] - p @ log_p.T) / questions, 0.0)


def diversity(
    probs: Float[np.ndarray, "member example candidate"],
    rest: Float[np.ndarray, "member example"],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any] | None:
    """Mean `disagreement` and `kl` over all pairs of members, with 95% intervals over questions; None for one member
    or no question.

    `closest` names the pair (places of the members, from 0) with the least KL of both directions, and its numbers.
    `collapsed` is whether the mean KL is below `COLLAPSED`.
    """
    members = len(probs)
    if members < 2 or not probs.shape[1]:
        return None
    values = np.stack([_disagreement_by_question(probs), _kl_by_question(probs, rest)], axis=1)

    def statistics(counts: Float64[np.ndarray, "resample example"]) -> dict[str, Float64[np.ndarray, "resample"]]:
        means = resampled_means(values, counts)
        return {"disagreement": means[:, 0], "kl": means[:, 1]}

    found = bootstrap(statistics, [probs.shape[1]], resamples=resamples, seed=seed)
    kl = pairwise_kl(probs, rest)
    both = kl + kl.T + np.where(np.eye(members, dtype=bool), np.inf, 0.0)
    one, other = (int(place) for place in np.unravel_index(int(both.argmin()), both.shape))
    return {
        **found,
        "closest": {
            "members": [one, other],
            "kl": float(both[one, other] / 2),
            "disagreement": float(pairwise_disagreement(probs[[one, other]])[0, 1]),
        },
        "collapsed": bool((found["kl"]["value"] or 0.0) < COLLAPSED),
    }


def _disagreement_by_question(probs: Float[np.ndarray, "member example candidate"]) -> Float64[np.ndarray, "example"]:
    """The share of pairs of members that differ: one minus the chance that two drawn voters agree."""
    members = len(probs)
    votes = predicted(probs)[..., None] == np.arange(probs.shape[2])
    alike = votes.sum(axis=0)
    return 1 - (alike * (alike - 1)).sum(axis=1) / (members * (members - 1))


def _kl_by_question(
    probs: Float[np.ndarray, "member example candidate"], rest: Float[np.ndarray, "member example"]
) -> Float64[np.ndarray, "example"]:
    """The mean KL over ordered pairs: sums over members do, so that no pair is ever visited."""
    p, log_p = _flat_logs(probs, rest)
    members = len(p)
    total = (members * (p * log_p).sum(axis=0) - p.sum(axis=0) * log_p.sum(axis=0)).sum(axis=1)
    return np.maximum(total / (members * (members - 1)), 0.0)


def _flat_logs(
    probs: Float[np.ndarray, "member example candidate"], rest: Float[np.ndarray, "member example"]
) -> tuple[Float64[np.ndarray, "member example outcome"], Float64[np.ndarray, "member example outcome"]]:
    """Candidates and rest as one axis; where no member gives anything the logarithms cancel."""
    p = np.concatenate([probs, rest[..., None]], axis=-1).astype(np.float64)
    return p, np.log(np.maximum(p, SMALLEST))
