"""Hidden states of many questions, as means over members: what every member holds would not fit in memory."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float32


class HiddenMeans:
    """The last hidden state at the end of each prompt, as the mean over each of some groups of active members."""

    def __init__(self, groups: Sequence[Sequence[int]]) -> None:
        self.groups = [frozenset(group) for group in groups]
        """Places among the active members."""
        self.means: Float32[np.ndarray, "group example dim"] = np.zeros((len(groups), 0, 0), dtype=np.float32)

    def add(self, states: Float[np.ndarray, "some row dim"], first: int, rows: Sequence[int], *, of: int) -> None:
        """Take in the states of some members, counted from `first`, for some questions out of `of`.

        All members' come in order; whatever was there of these questions is forgotten when the first member's do, so
        that a pass that is done again counts once.
        """
        if self.means.shape[1:] != (of, states.shape[-1]):
            self.means = np.zeros((len(self.groups), of, states.shape[-1]), dtype=np.float32)
        if first == 0:
            self.means[:, rows] = 0
        for group, means in zip(self.groups, self.means, strict=True):
            mine = [i for i in range(len(states)) if first + i in group]
            if mine:
                means[rows] += states[mine].sum(axis=0) / len(group)
