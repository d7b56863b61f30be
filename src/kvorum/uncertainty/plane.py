"""The plane of entropy and mutual information, cut into what an ensemble's doubt can be.

    confident   entropy and mutual information at most at their cuts: every member is sure, and of the same
    torn        entropy above its cut, mutual information not: every member is unsure in the same way
    disputed    mutual information above its cut: members have learned different things

Source: the reading of figures 2 to 4 in Balabanov and Linander, arXiv 2402.12264; the names are ours.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64

from kvorum.uncertainty.bootstrap import bootstrap, resampled_means

QUADRANTS = ("confident", "torn", "disputed")


@dataclass(frozen=True, kw_only=True, slots=True)
class Cuts:
    """Where the plane is cut, in nats; a question at a cut lies below it."""

    entropy: float
    mutual_information: float
    entropy_from: str = "given"
    """In words, where the cut comes from."""
    mutual_information_from: str = "given"


def quadrant_of(
    entropy: Float64[np.ndarray, "example"], mutual_information: Float64[np.ndarray, "example"], cuts: Cuts
) -> Int64[np.ndarray, "example"]:
    """The place in `QUADRANTS` of each question."""
    torn = np.where(entropy > cuts.entropy, 1, 0)
    return np.where(mutual_information > cuts.mutual_information, 2, torn).astype(np.int64)


def shares(
    quadrant: Int64[np.ndarray, "example"],
    correct: Bool[np.ndarray, "example"],
    labelled: Bool[np.ndarray, "example"],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """Of each quadrant: its `questions`, its `share` of all and its `accuracy`, with 95% intervals over questions.

    Accuracy is over the questions whose answer is known, None in an empty quadrant.
    """
    inside = quadrant[:, None] == np.arange(len(QUADRANTS))
    known = inside & labelled[:, None]

    def statistics(counts: Float64[np.ndarray, "resample example"]) -> dict[str, Float64[np.ndarray, "resample"]]:
        share = resampled_means(inside.astype(np.float64), counts)
        found = {f"share/{name}": share[:, place] for place, name in enumerate(QUADRANTS)}
        for place, name in enumerate(QUADRANTS):
            rows = known[:, place]
            found[f"accuracy/{name}"] = resampled_means(correct[rows, None].astype(np.float64), counts[:, rows])[:, 0]
        return found

    found = bootstrap(statistics, [len(quadrant)], resamples=resamples, seed=seed)
    return {
        name: {
            "questions": int(inside[:, place].sum()),
            "share": found[f"share/{name}"],
            "accuracy": found[f"accuracy/{name}"],
        }
        for place, name in enumerate(QUADRANTS)
    }
