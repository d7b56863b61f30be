"""Random: ask anything; what every other way of choosing has to beat."""

import numpy as np

from kvorum.acquisition.pool import Batch, Pool, top


def random(pool: Pool, count: int, *, seed: int = 0) -> Batch:
    """Score = a uniform draw from [0, 1), independent of everything; a longer batch begins with the shorter one."""
    return top(np.random.default_rng(seed).random(len(pool)), count, seed=seed)
