"""PowerBALD: questions drawn in proportion to their mutual information, so that a batch is not many times the same."""

import numpy as np

from kvorum import uncertainty
from kvorum.acquisition.pool import Batch, Pool, top
from kvorum.uncertainty.entropy import RESOLUTION

BETA = 1.0
"""How closely the draw follows the mutual information: 0 is random, large ones take the highest."""

FLOOR = 2 * BETA * float(np.log(RESOLUTION))
"""Below every score that a mutual information above 0 can get: none is under the resolution of entropies, and no draw
of a Gumbel in double precision is under -4."""


def power_bald(pool: Pool, count: int, *, seed: int = 0) -> Batch:
    """Score = beta log I(answer; member) + a draw from Gumbel(0, 1).

    The first of the batch is question i with probability I_i^beta / sum of I^beta, and each next one likewise among
    those left. Questions with a mutual information of 0 score `FLOOR` and come last, by lot. Kirsch et al., "Stochastic
    Batch Acquisition", arXiv 2106.12059.
    """
    information = uncertainty.mutual_information(pool.probs, pool.rest)
    draws = np.random.default_rng(seed).gumbel(size=len(pool))
    told = information > 0
    scores = np.full(len(pool), FLOOR)
    scores[told] = BETA * np.log(information[told]) + draws[told]
    return top(scores, count, seed=seed)
