"""From the members' log-likelihoods of a document's candidates to what the harness and the log get."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64

from kvorum import uncertainty


@dataclass(frozen=True)
class Answer:
    """What an ensemble answers to one document."""

    log_likelihoods: Float64[np.ndarray, "member candidate"]
    """In nats, of each candidate's tokens after the context."""
    greedy: Bool[np.ndarray, "member candidate"]
    """Whether a candidate is just what the member would go on with, greedily."""

    @property
    def probs(self) -> Float64[np.ndarray, "member candidate"]:
        """Each member's distribution over the candidates."""
        return np.exp(self.log_likelihoods - self._evidence[:, None])

    @property
    def values(self) -> list[float]:
        """Of each candidate, for the harness: log p_c + log mean_m sum_c exp(l_mc), with p_c the members' mean.

        Its argmax is the ensemble's answer; of one member it is that one's log-likelihood, and of one candidate the log
        of the members' mean likelihood.
        """
        members = len(self.log_likelihoods)
        shares = self.log_likelihoods - self._evidence[:, None]
        log_mean = np.logaddexp.reduce(shares, axis=0) - np.log(members)
        return (log_mean + np.logaddexp.reduce(self._evidence) - np.log(members)).tolist()

    @property
    def would_say(self) -> list[bool]:
        """Of each candidate whether more than half of the members would go on with it, greedily."""
        return (2 * self.greedy.sum(axis=0) > len(self.greedy)).tolist()

    def as_dict(self) -> dict[str, Any]:
        """For the log; entropies in nats, "higher = more uncertain"."""
        probs = self.probs[:, None, :]
        rest = np.zeros(probs.shape[:2])
        mean = probs.mean(axis=0)
        return {
            "candidates": probs.shape[-1],
            "probabilities": mean[0].tolist(),
            "predicted": int(uncertainty.predicted(mean)[0]),
            "predictive_entropy": float(uncertainty.predictive_entropy(probs, rest)[0]),
            "expected_entropy": float(uncertainty.expected_entropy(probs, rest)[0]),
            "mutual_information": float(uncertainty.mutual_information(probs, rest)[0]),
            "votes": self.log_likelihoods.argmax(axis=1).tolist(),
        }

    @property
    def _evidence(self) -> Float64[np.ndarray, " member"]:
        return np.logaddexp.reduce(self.log_likelihoods, axis=1)
