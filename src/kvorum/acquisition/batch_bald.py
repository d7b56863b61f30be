"""BatchBALD: ask the questions whose answers together tell the most about which member is right."""

import numpy as np

from kvorum import uncertainty
from kvorum.acquisition.asked import CHAINS, LIMIT, Asked
from kvorum.acquisition.pool import Batch, Pool, batch_size, foremost


def batch_bald(pool: Pool, count: int, *, seed: int = 0, limit: int = LIMIT, chains: int = CHAINS) -> Batch:
    """Score = I(answer; member | answers to those chosen before), in nats; chosen greedily, the highest first.

    Two questions that tell the same are not both chosen, as by plain mutual information they would be. Kirsch et al.,
    "BatchBALD", arXiv 1906.08158, whose greedy batch tells at least 1 - 1/e of what the best one does.

    The gains are exact while the batch can be answered in at most `limit` ways, and a mean over `chains` drawn answers
    beyond, of which the chosen question's gain is the highest of many estimates.

    M members have ln M nats to tell in all: 3 of 20 members, which ten questions may use up. After that gains fall to
    rounding, and ties in them go by plain mutual information, then by lot, regardless of what the questions share; just
    before, the gains rest on few of the drawn answers.
    """
    size = batch_size(count, len(pool))
    generator = np.random.default_rng(seed)
    lot = generator.permutation(len(pool))
    alone = uncertainty.mutual_information(pool.probs, pool.rest)
    asked = Asked(pool, generator, limit=limit, chains=chains)
    chosen = np.empty(size, np.int64)
    scores = np.zeros(len(pool))
    gains = asked.gains()
    for place in range(size):
        pick = foremost(gains, alone, lot=lot)
        chosen[place] = pick
        scores[pick] = gains[pick]
        asked.add(pick)
        gains = asked.gains()
        gains[chosen[: place + 1]] = -np.inf
    others = np.isfinite(gains)
    scores[others] = gains[others]
    return Batch(chosen=chosen, scores=scores)
