"""How much two ensembles differ on the same questions.

Both are resampled with the same questions, so that what makes a question hard for both cancels: the interval of the
difference is narrower than two intervals side by side suggest. Efron and Tibshirani, "An introduction to the
bootstrap", 1993.
"""

import numpy as np
from jaxtyping import Float64, Int

from kvorum.errors import KvorumError
from kvorum.uncertainty.bootstrap import Interval, bootstrap, resampled_means
from kvorum.uncertainty.entropy import expected_entropy, mutual_information, predictive_entropy
from kvorum.uncertainty.ranking import resampled_auroc
from kvorum.uncertainty.summary import Answered
from kvorum.uncertainty.voice import CALIBRATION, METRICS, Voice, resampled_scores

UNCERTAINTIES = {
    "predictive_entropy": predictive_entropy,
    "expected_entropy": expected_entropy,
    "mutual_information": mutual_information,
}
DIFFERENCES = (*METRICS, *UNCERTAINTIES, "wrong_auroc.predictive_entropy", "wrong_auroc.mutual_information")


def paired_differences(
    first: Answered,
    second: Answered,
    answers: Int[np.ndarray, "example"],
    *,
    bins: int = 10,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Interval]:
    """Second minus first, of each of `DIFFERENCES`, with 95% intervals over questions; NLL and entropies in nats.

    Scores and AUROCs are over the questions whose answer is known, entropies over all. The ensembles may differ in how
    many members they have. Raises KvorumError for predictions on different numbers of questions.
    """
    if first.rest.shape[1] != second.rest.shape[1]:
        raise KvorumError(f"{first.rest.shape[1]} questions cannot be paired with {second.rest.shape[1]}")
    known = answers >= 0
    sides = []
    for side in (first, second):
        uncertainties = {name: score(side.probs, side.rest) for name, score in UNCERTAINTIES.items()}
        voice = Voice.of_mean(side.probs[:, known], side.rest[:, known], answers[known], bins=bins)
        sides.append((voice, uncertainties))

    def statistics(counts: Float64[np.ndarray, "resample example"]) -> dict[str, Float64[np.ndarray, "resample"]]:
        before, after = (_of_side(voice, uncertainties, known, counts) for voice, uncertainties in sides)
        return {name: after[name] - before[name] for name in DIFFERENCES}

    return bootstrap(statistics, [len(answers)], resamples=resamples, seed=seed, reflected=CALIBRATION, least=-np.inf)


def _of_side(
    voice: Voice,
    uncertainties: dict[str, np.ndarray],
    known: np.ndarray,
    counts: Float64[np.ndarray, "resample example"],
) -> dict[str, Float64[np.ndarray, "resample"]]:
    found = {metric: each[0] for metric, each in resampled_scores([voice], counts[:, known]).items()}
    means = resampled_means(np.stack([uncertainties[name] for name in UNCERTAINTIES], axis=1), counts)
    found |= {name: means[:, place] for place, name in enumerate(UNCERTAINTIES)}
    for name in ("predictive_entropy", "mutual_information"):
        found[f"wrong_auroc.{name}"] = resampled_auroc(uncertainties[name][known], ~voice.correct, counts[:, known])
    return found
