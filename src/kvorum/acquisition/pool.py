"""What an acquisition function is given, and what it gives back."""

import dataclasses

import numpy as np
from jaxtyping import Float, Float64, Int, Int64

from kvorum.errors import KvorumError
from kvorum.uncertainty.entropy import RESOLUTION

TOLERANCE = 1e-4
"""How far from 1 probabilities may sum up, as in predictions that are read."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Pool:
    """Questions without labels, as the members see them.

    Raises `KvorumError` for arrays that do not fit together or hold what is no probability, and for a pool of nothing.
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
        members, examples, candidates = self.probs.shape
        if not members or not examples or not candidates:
            found = f"{examples} questions, {members} members and {candidates} candidates"
            raise KvorumError(f"a pool of {found} leaves nothing to choose from")
        if self.rest.shape != (members, examples):
            raise KvorumError(f"rest is {self.rest.shape}, expected {(members, examples)} as in probs")
        if self.hidden is not None and len(self.hidden) != examples:
            raise KvorumError(f"hidden holds {len(self.hidden)} questions, probs {examples}")
        for name in ("hidden", "labelled_hidden"):
            states = getattr(self, name)
            if states is not None and not np.isfinite(states).all():
                raise KvorumError(f"{name} holds nan or infinity; expected finite numbers")
        self._check_probabilities()

    def _check_probabilities(self) -> None:
        # Says what must hold and is then negated, so that nan, of which no comparison holds, is found too.
        total = self.probs.sum(axis=2, dtype=np.float64) + self.rest
        sound = (self.probs >= 0).all(axis=2) & (self.rest >= 0) & (np.abs(total - 1) <= TOLERANCE)
        if not sound.all():
            member, example = np.argwhere(~sound)[0].tolist()
            raise KvorumError(
                f"question {example + 1}, member {member}: the probabilities are "
                f"{self.probs[member, example].tolist()} and {self.rest[member, example]} for the rest; "
                "expected none below 0 and a sum of 1"
            )

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


def batch_size(count: int, examples: int) -> int:
    """How many questions to choose: the whole pool where it is smaller. Raises `KvorumError` below one."""
    if count < 1:
        raise KvorumError(f"count is {count}; a batch has at least 1 question")
    return min(count, examples)


def top(scores: Float[np.ndarray, "example"], count: int, *, seed: int) -> Batch:
    """The questions of the highest scores; ties, to the resolution of entropies, are drawn by lot."""
    scores = scores.astype(np.float64)
    lot = np.random.default_rng(seed).permutation(len(scores))
    order = np.lexsort((lot, -np.round(scores / RESOLUTION) * RESOLUTION))
    return Batch(chosen=order[: batch_size(count, len(scores))].astype(np.int64), scores=scores)


def foremost(*scores: Float[np.ndarray, "example"], lot: Int[np.ndarray, "example"]) -> int:
    """The question of the highest score; ties, to the resolution of entropies, go by the scores after it, then by lot.

    -inf keeps a question out.
    """
    among = np.arange(len(lot))
    for values in scores:
        among = among[values[among] >= values[among].max() - RESOLUTION]
    return int(among[lot[among].argmin()])
