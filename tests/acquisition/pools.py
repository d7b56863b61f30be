"""Pools to choose from, small enough for brute force."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from kvorum.acquisition import Pool


def pool_of(full: np.ndarray, **hidden: np.ndarray) -> Pool:
    """From whole distributions, the last outcome of which is the rest."""
    return Pool(probs=full[..., :-1].copy(), rest=full[..., -1].copy(), **hidden)


def text_pool(probs: object) -> Pool:
    """Of candidates alone, without rest."""
    probs = np.asarray(probs, np.float64)
    return Pool(probs=probs, rest=np.zeros(probs.shape[:2]))


def random_pool(seed: int, *, members: int, choices: list[int], rest: bool, spread: float = 1.5) -> Pool:
    """Members that disagree, on questions with numbers of choices of their own."""
    random = np.random.default_rng(seed)
    full = np.exp(spread * random.normal(size=(members, len(choices), max(choices) + 1)))
    full *= np.append(np.arange(max(choices)) < np.array(choices)[:, None], np.full((len(choices), 1), rest), axis=1)
    return pool_of(full / full.sum(axis=2, keepdims=True))


@st.composite
def pools(draw) -> Pool:
    """Up to 5 members and 6 questions, many of them with exact zeros and ones, copies and shared doubts."""
    members, questions, candidates = (draw(st.integers(1, size)) for size in (5, 6, 4))
    weights = draw(
        arrays(np.float64, (members, questions, candidates + 1), elements=st.sampled_from([0, 0, 1e-9, 0.1, 0.5, 1, 7]))
    )
    weights[..., 0] += weights.sum(axis=-1) == 0
    hidden, labelled = (
        draw(arrays(np.float64, (rows, 2), elements=st.sampled_from([-3, 0, 0.5, 1, 4])))
        for rows in (questions, draw(st.integers(0, 2)))
    )
    return pool_of(weights / weights.sum(axis=-1, keepdims=True), hidden=hidden, labelled_hidden=labelled)


def permuted(pool: Pool, order: np.ndarray) -> Pool:
    """The same questions in another order."""
    hidden = None if pool.hidden is None else pool.hidden[order]
    return Pool(
        probs=pool.probs[:, order], rest=pool.rest[:, order], hidden=hidden, labelled_hidden=pool.labelled_hidden
    )
