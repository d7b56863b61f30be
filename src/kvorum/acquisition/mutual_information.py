"""Mutual information, BALD: ask where the members disagree about the answer, each being sure of its own."""

from kvorum import uncertainty
from kvorum.acquisition.pool import Batch, Pool, top


def mutual_information(pool: Pool, count: int, *, seed: int = 0) -> Batch:
    """Score = I(answer; member), in nats: what the answer would tell about which member is right.

    A question that all members are unsure of in the same way scores 0, however unsure they are. Houlsby et al.,
    "Bayesian Active Learning for Classification and Preference Learning", arXiv 1112.5745.
    """
    return top(uncertainty.mutual_information(pool.probs, pool.rest), count, seed=seed)
