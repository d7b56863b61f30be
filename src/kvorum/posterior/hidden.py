"""Hidden states of many questions, as means over members: what every member holds would not fit in memory."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float32


class HiddenMeans:
    """The last hidden state at the end of each prompt, as the mean over each of some groups of active members.

    A member whose states of a question are not finite, having diverged, does not count there.
    """

    def __init__(self, groups: Sequence[Sequence[int]], *, of: int) -> None:
        self.groups = [frozenset(group) for group in groups]
        """Places among the active members."""
        self.of = of
        """How many questions are wanted: the first ones of all that are scored."""
        self._sums = np.zeros((len(groups), of, 0), dtype=np.float32)
        self._counts = np.zeros((len(groups), of, 1), dtype=np.float32)

    @property
    def means(self) -> Float32[np.ndarray, "group example dim"]:
        """What has been taken in; 0 where no member counts."""
        return self._sums / np.maximum(self._counts, 1)

    def add(self, states: Float[np.ndarray, "some row dim"], first: int, rows: Sequence[int]) -> None:
        """Take in the states of some members, counted from `first`, for some questions.

        All members' come in order; whatever was there of these questions is forgotten when the first member's do, so
        that a pass that is done again counts once.
        """
        if self._sums.shape[-1] != states.shape[-1]:
            self._sums = np.zeros((*self._sums.shape[:2], states.shape[-1]), dtype=np.float32)
        wanted = [i for i, row in enumerate(rows) if row < self.of]
        places = [rows[i] for i in wanted]
        if first == 0:
            self._sums[:, places] = 0
            self._counts[:, places] = 0
        states = states[:, wanted]
        finite = np.asarray(np.isfinite(states).all(axis=-1, keepdims=True))
        states = np.where(finite, states, 0)
        for group, sums, counts in zip(self.groups, self._sums, self._counts, strict=True):
            mine = [i for i in range(len(states)) if first + i in group]
            sums[places] += states[mine].sum(axis=0)
            counts[places] += finite[mine].sum(axis=0)
