"""Margin: ask where the first and the second candidate are nearly as probable."""

import numpy as np

from kvorum.acquisition.pool import Batch, Pool, top


def margin(pool: Pool, count: int, *, seed: int = 0) -> Batch:
    """Score = -(p_1 - p_2), the two highest of the mean probabilities of the candidates, never the rest; -1 to 0.

    A question's only candidate has a second of probability 0 beside it. Scheffer et al., "Active Hidden Markov Models
    for Information Extraction", IDA 2001; Settles, "Active Learning Literature Survey", 2009, section 3.1.
    """
    mean = np.sort(pool.probs.mean(axis=0, dtype=np.float64), axis=1)
    second = mean[:, -2] if mean.shape[1] > 1 else 0.0
    return top(second - mean[:, -1], count, seed=seed)
