"""Entropy: ask where the ensemble's answer is most open, for whatever reason."""

from kvorum import uncertainty
from kvorum.acquisition.pool import Batch, Pool, top


def entropy(pool: Pool, count: int, *, seed: int = 0) -> Batch:
    """Score = H(mean over members of p_m), in nats, the rest being one more outcome.

    A question that nobody could answer scores as high as one that the members disagree on. Shannon's entropy as in
    uncertainty sampling: Settles, "Active Learning Literature Survey", University of Wisconsin-Madison, 2009, section
    3.1.
    """
    return top(uncertainty.predictive_entropy(pool.probs, pool.rest), count, seed=seed)
