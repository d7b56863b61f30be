"""What an acquisition function is given, and what it gives back."""

import dataclasses

import numpy as np
from jaxtyping import Float, Float64, Int64

from kvorum.errors import KvorumError
from kvorum.uncertainty.entropy import RESOLUTION


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Pool:
    """Questions without labels, as the members see them.

    Raises `KvorumError` for arrays that do not fit together, and for a pool of nothing.
    """

    probs: Float[np.ndarray, "member example candidate"]
    """0 beyond the last candidate of a question that has fewer than others."""
    rest: Float[np.ndarray, "member example"]
    """Probability on everything that is no candidate; 0 in text format."""
    hidden: Float[np.ndarray, "example dim"] | None = None
    """The model's last hidden state at the end of each prompt, for functions that look at distances."""
    labelled_hidden: Float[np.ndarray, "labelled dim"] | None = None
    """The same of questions that are labelled already."""

    def __post_init__(self) -> None:
        members, examples, _ = self.probs.shape
        if not members or not examples:
            raise KvorumError(f"a pool of {examples} questions and {members} members leaves nothing to choose from")
        if self.rest.shape != (members, examples):
            raise KvorumError(f"rest is {self.rest.shape}, expected {(members, examples)} as in probs")
        if self.hidden is not None and len(self.hidden) != examples:
            raise KvorumError(f"hidden holds {len(self.hidden)} questions, probs {examples}")

    def __len__(self) -> int:
        return self.probs.shape[1]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """What to label next."""

    chosen: Int64[np.ndarray, "chosen"]
    """Places in the pool, the most wanted first; as many as were asked for, or the whole pool where it is smaller."""
    scores: Float64[np.ndarray, "example"]
    """Of every question in the pool, higher = more wanted: of a chosen one what it was worth when it was chosen, of
    another what it is worth besides the batch."""


def top(scores: Float[np.ndarray, "example"], count: int, *, seed: int) -> Batch:
    """The questions of the highest scores; ties, to the resolution of entropies, are drawn by lot."""
    scores = scores.astype(np.float64)
    lot = np.random.default_rng(seed).permutation(len(scores))
    order = np.lexsort((lot, -np.round(scores / RESOLUTION) * RESOLUTION))
    return Batch(chosen=order[:count].astype(np.int64), scores=scores)
