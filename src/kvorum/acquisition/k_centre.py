"""k-centre: ask what is far from all that is labelled, by the model's hidden states; no member has a say."""

import numpy as np
from jaxtyping import Float64

from kvorum.acquisition.pool import Batch, Pool, batch_size, foremost
from kvorum.errors import KvorumError

AT_ONCE = 256
"""Labelled questions whose distances are computed together: 40 MB for a pool of 20,000."""

ROUNDING = 1e-13
"""Squared distances below this share of the squared lengths come from rounding alone."""


def k_centre(pool: Pool, count: int, *, seed: int = 0) -> Batch:
    """Score = Euclidean distance of the hidden state to the nearest centre; every chosen question becomes a centre.

    The labelled questions are centres from the start. Where there is none, the first is the question farthest from the
    pool's mean, and its score is its distance to the farthest other question. States nearer to each other than some
    3e-7 of their distance from the pool's mean are the same. Raises `KvorumError` for a pool without hidden states.
    Greedy k-centre of Sener and Savarese, "Active Learning for Convolutional Neural Networks: A Core-Set Approach",
    arXiv 1708.00489, algorithm 1, whose largest distance at the end is at most twice the least possible one.
    """
    if pool.hidden is None:
        raise KvorumError("k_centre chooses by hidden states, and this pool has none: score it with them")
    size = batch_size(count, len(pool))
    lot = np.random.default_rng(seed).permutation(len(pool))
    # The distances come from differences of squares, which lose least near the origin.
    mean = pool.hidden.mean(axis=0, dtype=np.float64)
    states = pool.hidden - mean
    squares = np.einsum("ed,ed->e", states, states)
    nearest = np.full(len(pool), np.inf)
    if pool.labelled_hidden is not None:
        for start in range(0, len(pool.labelled_hidden), AT_ONCE):
            centres = pool.labelled_hidden[start : start + AT_ONCE] - mean
            np.minimum(nearest, _squared_distances(states, squares, centres).min(axis=1), out=nearest)
    chosen = np.empty(size, np.int64)
    scores = np.zeros(len(pool))
    wanted = np.sqrt(np.where(np.isinf(nearest), squares, nearest))
    for place in range(size):
        pick = foremost(wanted, lot=lot)
        distances = _squared_distances(states, squares, states[pick : pick + 1])[:, 0]
        chosen[place] = pick
        scores[pick] = wanted[pick] if np.isfinite(nearest[pick]) else np.sqrt(distances.max())
        np.minimum(nearest, distances, out=nearest)
        wanted = np.sqrt(nearest)
        wanted[chosen[: place + 1]] = -np.inf
    others = np.isfinite(wanted)
    scores[others] = wanted[others]
    return Batch(chosen=chosen, scores=scores)


def _squared_distances(
    states: Float64[np.ndarray, "example dim"],
    squares: Float64[np.ndarray, "example"],
    centres: Float64[np.ndarray, "centre dim"],
) -> Float64[np.ndarray, "example centre"]:
    sums = squares[:, None] + np.einsum("cd,cd->c", centres, centres)
    distances = sums - 2 * (states @ centres.T)
    return np.where(distances > ROUNDING * sums, distances, 0.0)
