"""One distribution a question, the ensemble's or a member's, scored against the right answers."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int

from kvorum.uncertainty.bootstrap import resampled_means
from kvorum.uncertainty.calibration import confidence, gaps_of_equal_width, resampled_ece
from kvorum.uncertainty.scores import brier, correct, nll

METRICS = ("accuracy", "nll", "brier", "ece", "ece_mass")
CALIBRATION = ("ece", "ece_mass")
"""Those whose bootstrap is biased upward."""
MEANS = ("accuracy", "nll", "brier")
"""Those that are means over questions."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Voice:
    """What each question adds to the metrics."""

    correct: Bool[np.ndarray, "example"]
    confidence: Float64[np.ndarray, "example"]
    added: Float64[np.ndarray, "example quantity"]
    """To accuracy, NLL, Brier score, and to each bin of the calibration error of equal width."""

    @classmethod
    def of(
        cls,
        probs: Float[np.ndarray, "example candidate"],
        rest: Float[np.ndarray, "example"],
        answers: Int[np.ndarray, "example"],
        *,
        bins: int = 10,
    ) -> "Voice":
        """Of questions whose right answer is known."""
        right, sure = correct(probs, answers), confidence(probs)
        scores = np.stack([right, nll(probs, answers), brier(probs, rest, answers)], axis=1)
        return cls(
            correct=right,
            confidence=sure,
            added=np.concatenate([scores, gaps_of_equal_width(sure, right, bins=bins)], axis=1),
        )

    @classmethod
    def of_mean(
        cls,
        probs: Float[np.ndarray, "member example candidate"],
        rest: Float[np.ndarray, "member example"],
        answers: Int[np.ndarray, "example"],
        *,
        bins: int = 10,
    ) -> "Voice":
        """Of the mean of members' distributions: an ensemble's voice."""
        return cls.of(probs.mean(axis=0, dtype=np.float64), rest.mean(axis=0, dtype=np.float64), answers, bins=bins)


def resampled_scores(
    voices: Sequence[Voice], counts: Float64[np.ndarray, "resample example"], metrics: Collection[str] = METRICS
) -> dict[str, Float64[np.ndarray, "voice resample"]]:
    """Metrics of each voice in each resample, given how often each question is in it."""
    # One product for all voices: many narrow ones take several times as long.
    means = resampled_means(np.concatenate([voice.added for voice in voices], axis=1), counts)
    means = means.reshape(len(counts), len(voices), -1).transpose(1, 0, 2)
    found = {metric: means[..., place] for place, metric in enumerate(MEANS)}
    found["ece"] = np.abs(means[..., len(MEANS) :]).sum(axis=-1)
    if "ece_mass" in metrics:
        bins = means.shape[-1] - len(MEANS)
        found["ece_mass"] = np.stack(
            [resampled_ece(voice.confidence, voice.correct, counts, bins=bins, scheme="mass") for voice in voices]
        )
    return {metric: found[metric] for metric in METRICS if metric in metrics}
