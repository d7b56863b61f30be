"""Least confidence: ask where the candidate that would be given as the answer is least probable."""

import numpy as np

from kvorum.acquisition.pool import Batch, Pool, top


def least_confidence(pool: Pool, count: int, *, seed: int = 0) -> Batch:
    """Score = 1 - max over candidates of the mean over members of p_m, 0 to 1.

    Lewis and Gale, "A Sequential Algorithm for Training Text Classifiers", arXiv cmp-lg/9407020; Settles, "Active
    Learning Literature Survey", 2009, section 3.1.
    """
    return top(1 - pool.probs.mean(axis=0, dtype=np.float64).max(axis=1), count, seed=seed)
