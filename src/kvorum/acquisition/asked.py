"""What the answers to a batch of questions would tell about which member is right.

A configuration is one way in which the whole batch may be answered. It has a share of the probability, and leaves
weights on the members:

    share(y)     = mean over members of prod over the batch of p_m(y_i)
    weight(m, y) = prod over the batch of p_m(y_i), divided by its sum over members
    gain(x)      = sum over y of share(y) [H(sum_m weight(m, y) p_m(x)) - sum_m weight(m, y) H(p_m(x))]
                 = I(answer to x; member | answers to the batch), in nats

Both entropies are taken under the same weights, so that no gain is below 0 but for rounding.
"""

import numpy as np
from jaxtyping import Float64

from kvorum.acquisition.pool import Pool
from kvorum.uncertainty.entropy import RESOLUTION, entropy

LIMIT = 4096
"""Configurations up to which all are told apart; beyond, chains are drawn."""

CHAINS = 1000
"""Drawn configurations, as many of every member."""

NEGLIGIBLE = 1e-200
"""A probability up to this counts as 0. In a mixture it stands for 0, whose logarithm has no value."""

ROWS = 64
"""Configurations that are mixed at once."""

PRODUCTS = 2**18
"""Multiplications in one mixing: it fits a core's cache, and BLAS libraries do not spread it over threads, which on a
machine that others use too costs ten times what it saves."""

BELOW_ONE = float(np.nextafter(1.0, 0.0))


class Asked:
    """A batch that grows by a question at a time, and what any other question would tell besides it.

    Up to `limit` configurations it is exact. Beyond, `chains` configurations are drawn: a member, each as often as any
    other, answers the questions asked so far and every one that is added. Their gains are unbiased for a batch that
    was not chosen by them. A configuration that leaves no doubt about the member, which has less than the resolution of
    entropies to tell, is dropped for good.
    """

    def __init__(self, pool: Pool, generator: np.random.Generator, *, limit: int = LIMIT, chains: int = CHAINS) -> None:
        outcomes = np.asarray(pool.probs, np.float64)
        if pool.rest.any():
            outcomes = np.concatenate([outcomes, pool.rest[:, :, None]], axis=2)
        # The lots fall the same way in whatever order the members come.
        order = sorted(range(len(outcomes)), key=lambda member: outcomes[member].tobytes())
        self._outcomes = np.maximum(outcomes[order], NEGLIGIBLE)
        self._own = entropy(pool.probs, pool.rest)[order]
        self._generator = generator
        self._limit = limit
        self._each = -(-chains // len(order))
        self._batch: list[int] = []
        self._chains: np.ndarray | None = None
        self._settle(np.ones(1), np.zeros((1, len(order))))

    @property
    def exact(self) -> bool:
        """Whether all configurations are there."""
        return self._chains is None

    def gains(self) -> Float64[np.ndarray, "example"]:
        """What the answer to each question of the pool would tell besides the batch, in nats."""
        weights = np.exp(self._logs)
        gains = self._mixed_entropy(weights) - (self._shares @ weights) @ self._own
        return np.where(gains > RESOLUTION, gains, 0.0)

    def add(self, question: int) -> None:
        """Ask one more question."""
        self._batch.append(question)
        if self._chains is not None:
            self._settle(self._shares, self._logs + self._drawn(question))
            return
        joint = self._logs[:, None, :] + self._log_outcomes(question).T
        joint = joint.reshape(-1, joint.shape[2])
        shares = np.repeat(self._shares, len(joint) // max(1, len(self._shares)))
        possible = joint.max(axis=1) > -np.inf
        self._settle(shares[possible], joint[possible], weighted=True)
        if len(self._shares) > self._limit:
            self._draw()

    def _draw(self) -> None:
        """Chains in the place of the configurations."""
        members = len(self._outcomes)
        self._chains = np.arange(members * self._each)
        logs = sum((self._drawn(question) for question in self._batch), np.zeros((len(self._chains), members)))
        self._settle(np.full(len(logs), 1 / len(logs)), logs)

    def _settle(
        self,
        shares: Float64[np.ndarray, "configuration"],
        logs: Float64[np.ndarray, "configuration member"],
        *,
        weighted: bool = False,
    ) -> None:
        """Keep what has something left to tell, its weights normalised.

        `weighted`: the logarithms are those of weights times the probability of an answer, whose sum belongs to the
        share. A chain's share is what it was drawn with.
        """
        # In logarithms, for the weight of a chain's own member must not vanish beside those of others.
        peaks = logs.max(axis=1, keepdims=True)
        sums = peaks + np.log(np.exp(logs - peaks).sum(axis=1, keepdims=True))
        logs = logs - sums
        if weighted:
            shares = shares * np.exp(sums[:, 0])
        left = entropy(np.exp(logs), np.zeros(len(logs))) > RESOLUTION
        self._shares, self._logs = shares[left], logs[left]
        if self._chains is not None:
            self._chains = self._chains[left]

    def _log_outcomes(self, question: int) -> Float64[np.ndarray, "member outcome"]:
        """Of the outcomes that any member holds possible; -inf for a member that does not."""
        outcomes = self._possible(question)
        return np.log(outcomes, where=outcomes > 0, out=np.full_like(outcomes, -np.inf))

    def _possible(self, question: int) -> Float64[np.ndarray, "member outcome"]:
        outcomes = self._outcomes[:, question]
        outcomes = np.where(outcomes > NEGLIGIBLE, outcomes, 0.0)
        return outcomes[:, outcomes.any(axis=0)]

    def _drawn(self, question: int) -> Float64[np.ndarray, "configuration member"]:
        """The logarithm of what each member gives to the answer that each chain's own member draws.

        A member's draws are spread evenly over its distribution, one in each of as many equal parts, in a new order for
        every question: each alone is as likely as without that, and their mean strays less.
        """
        assert self._chains is not None
        members = len(self._outcomes)
        parts = self._generator.permuted(np.tile(np.arange(self._each), (members, 1)), axis=1)
        draws = ((parts + self._generator.random(parts.shape)) / self._each).ravel()[self._chains]
        reached = self._possible(question).cumsum(axis=1)[self._chains // self._each]
        marks = np.minimum(draws, BELOW_ONE) * reached[:, -1]
        answers = (reached <= marks[:, None]).sum(axis=1)
        return self._log_outcomes(question)[:, answers].T

    def _mixed_entropy(self, weights: Float64[np.ndarray, "configuration member"]) -> Float64[np.ndarray, "example"]:
        """H(sum_m weight(m, y) p_m(x)) of every question, averaged over the configurations."""
        members, examples, outcomes = self._outcomes.shape
        table = self._outcomes.reshape(members, examples * outcomes)
        surprise = np.zeros(examples * outcomes)
        width = max(1, PRODUCTS // (ROWS * members))
        for start in range(0, table.shape[1], width):
            columns = np.ascontiguousarray(table[:, start : start + width])
            for row in range(0, len(weights), ROWS):
                mixed = weights[row : row + ROWS] @ columns
                logs = np.log(mixed)
                logs *= mixed
                surprise[start : start + width] -= self._shares[row : row + ROWS] @ logs
        return surprise.reshape(examples, outcomes).sum(axis=1)
