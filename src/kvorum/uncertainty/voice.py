"""One distribution a question, the ensemble's or a member's, scored against the right answers."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float64, Int

from kvorum.uncertainty.bootstrap import resampled_means
from kvorum.uncertainty.calibration import confidence, resampled_ece
from kvorum.uncertainty.scores import brier, correct, nll

METRICS = ("accuracy", "nll", "brier", "ece", "ece_mass")
SCHEMES: dict[str, Literal["width", "mass"]] = {"ece": "width", "ece_mass": "mass"}


@dataclass(frozen=True, kw_only=True, eq=False)
class Voice:
    """What each question adds to the metrics."""

    correct: Bool[np.ndarray, "example"]
    confidence: Float64[np.ndarray, "example"]
    nll: Float64[np.ndarray, "example"]
    brier: Float64[np.ndarray, "example"]

    @classmethod
    def of(
        cls,
        probs: Float[np.ndarray, "example candidate"],
        rest: Float[np.ndarray, "example"],
        answers: Int[np.ndarray, "example"],
    ) -> "Voice":
        """Of questions whose right answer is known."""
        return cls(
            correct=correct(probs, answers),
            confidence=confidence(probs),
            nll=nll(probs, answers),
            brier=brier(probs, rest, answers),
        )

    @classmethod
    def of_mean(
        cls,
        probs: Float[np.ndarray, "member example candidate"],
        rest: Float[np.ndarray, "member example"],
        answers: Int[np.ndarray, "example"],
    ) -> "Voice":
        """Of the mean of members' distributions: an ensemble's voice."""
        return cls.of(probs.mean(axis=0, dtype=np.float64), rest.mean(axis=0, dtype=np.float64), answers)

    def resampled(
        self,
        counts: Float64[np.ndarray, "resample example"],
        bins: int,
        metrics: Collection[str] = METRICS,
    ) -> dict[str, Float64[np.ndarray, "resample"]]:
        """Metrics of each resample, given how often each question is in it."""
        means = resampled_means(np.stack([self.correct, self.nll, self.brier], axis=1), counts)
        found = {"accuracy": means[:, 0], "nll": means[:, 1], "brier": means[:, 2]}
        for metric in [metric for metric in SCHEMES if metric in metrics]:
            found[metric] = resampled_ece(self.confidence, self.correct, counts, bins=bins, scheme=SCHEMES[metric])
        return {metric: found[metric] for metric in METRICS if metric in metrics}
