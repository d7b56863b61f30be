"""What a fitted ensemble kept of the pre-trained model, question by question.

    retained      right before, right now          forgotten      right before, wrong now
    acquired      wrong before, right now          never known    wrong before, wrong now

How far an answer has moved is told by the whole distribution q of the ensemble's mean against the pre-trained p, over
the candidates and the rest:

    KL(q || p) = sum_c q_c log(q_c / p_c), in nats, 0 and up         total variation = sum_c |q_c - p_c| / 2, 0 to 1

Balabanov and Linander (arXiv 2402.12264) hold that questions which stay torn in the overfitting regime are ones whose
pre-trained distribution all members kept. `carried` puts that to the test.
"""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64

from kvorum.uncertainty.bootstrap import bootstrap, resampled_means
from kvorum.uncertainty.plane import QUADRANTS
from kvorum.uncertainty.scores import SMALLEST

OUTCOMES = ("retained", "forgotten", "acquired", "never known")
UNKNOWN = -1


def outcome_of(
    before: Bool[np.ndarray, "example"], now: Bool[np.ndarray, "example"], labelled: Bool[np.ndarray, "example"]
) -> Int64[np.ndarray, "example"]:
    """The place in `OUTCOMES` of each question, from whether it was and is answered rightly; -1 where nobody knows."""
    return np.where(labelled, np.where(before, np.where(now, 0, 1), np.where(now, 2, 3)), UNKNOWN).astype(np.int64)


def kl_divergence(
    now: Float64[np.ndarray, "*axes example candidate"],
    now_rest: Float64[np.ndarray, "*axes example"],
    before: Float64[np.ndarray, "example candidate"],
    before_rest: Float64[np.ndarray, "example"],
) -> Float64[np.ndarray, "*axes example"]:
    """KL(now || before) of each question, in nats, 0 and up. A probability of zero before counts as the smallest."""
    return np.maximum(_terms(now, before).sum(axis=-1) + _terms(now_rest, before_rest), 0.0)


def total_variation(
    now: Float64[np.ndarray, "*axes example candidate"],
    now_rest: Float64[np.ndarray, "*axes example"],
    before: Float64[np.ndarray, "example candidate"],
    before_rest: Float64[np.ndarray, "example"],
) -> Float64[np.ndarray, "*axes example"]:
    """Total variation distance of each question's two distributions, 0 (the same) to 1."""
    return (np.abs(now - before).sum(axis=-1) + np.abs(now_rest - before_rest)) / 2


def _terms(now: np.ndarray, before: np.ndarray) -> np.ndarray:
    ratio = np.log(np.maximum(now, SMALLEST)) - np.log(np.maximum(before, SMALLEST))
    return np.where(now > 0, now * ratio, 0.0)


def outcomes(
    outcome: Int64[np.ndarray, "example"], *, resamples: int = 1000, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """Of each outcome: its `questions` and its `share` of those with a known answer, with its 95% interval."""
    inside = outcome[outcome != UNKNOWN][:, None] == np.arange(len(OUTCOMES))

    def statistics(counts: Float64[np.ndarray, "resample example"]) -> dict[str, Float64[np.ndarray, "resample"]]:
        share = resampled_means(inside.astype(np.float64), counts)
        return {name: share[:, place] for place, name in enumerate(OUTCOMES)}

    found = bootstrap(statistics, [len(inside)], resamples=resamples, seed=seed)
    return {
        name: {"questions": int(inside[:, place].sum()), "share": found[name]} for place, name in enumerate(OUTCOMES)
    }


def movement(
    quadrant: Int64[np.ndarray, "example"],
    kl: Float64[np.ndarray, "example"],
    tv: Float64[np.ndarray, "example"],
    same_answer: Bool[np.ndarray, "example"],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """How far answers moved, of all questions and by quadrant: means of `kl`, `tv`, `same_answer`, with 95% intervals.

    `same_answer` is the share of questions on which the ensemble still gives the pre-trained model's answer.
    """
    values = np.stack([kl, tv, same_answer], axis=1)
    groups = {"all": np.ones(len(kl), bool)} | {name: quadrant == place for place, name in enumerate(QUADRANTS)}

    def statistics(counts: Float64[np.ndarray, "resample example"]) -> dict[str, Float64[np.ndarray, "resample"]]:
        found = {}
        for name, rows in groups.items():
            means = resampled_means(values[rows], counts[:, rows])
            found |= {f"{name}/{key}": means[:, place] for place, key in enumerate(("kl", "tv", "same_answer"))}
        return found

    found = bootstrap(statistics, [len(kl)], resamples=resamples, seed=seed)
    return {
        name: {"questions": int(rows.sum())} | {key: found[f"{name}/{key}"] for key in ("kl", "tv", "same_answer")}
        for name, rows in groups.items()
    }


LEAST = 20
"""Questions, torn and not, below which the claim is not tested."""
OTHERS = 20
"""With how many other torn questions' distributions each one's is compared."""


def carried(
    probs: Float64[np.ndarray, "member example candidate"],
    rest: Float64[np.ndarray, "member example"],
    before: Float64[np.ndarray, "example candidate"],
    before_rest: Float64[np.ndarray, "example"],
    torn: Bool[np.ndarray, "example"],
    choices: Int64[np.ndarray, "example"],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Whether torn questions still carry the pre-trained answer: the claim, and what would be so by chance.

    `same_answer` compares the share of members that give the pre-trained model's answer on torn and on other questions
    (`torn`, `other`, `difference`). `distance` compares the total variation between a torn question's distribution (a
    mean over members) and its own pre-trained one (`own`) with that to other torn questions' pre-trained ones, of as
    many choices (`unrelated`): two spread distributions are never far apart, so `own` alone would say little. `ratio`
    is own over unrelated: 0 = kept to the letter, 1 = nothing kept. All with 95% intervals by bootstrap over questions.

    `verdict`: `seen` where members keep the answer on torn questions more often than on others and the ratio is below
    1, both beyond their intervals; `not seen` where neither is so; `partly` in between; `not testable` with fewer than
    `LEAST` other questions, or torn ones that can be compared.
    """
    same = (probs.argmax(axis=-1) == before.argmax(axis=-1)).mean(axis=0)
    own = total_variation(probs, rest, before, before_rest).mean(axis=0)
    unrelated = _to_others(probs, rest, before, before_rest, torn, choices)
    compared = torn & ~np.isnan(unrelated)

    def statistics(counts: Float64[np.ndarray, "resample example"]) -> dict[str, Float64[np.ndarray, "resample"]]:
        def mean(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
            return resampled_means(values[rows, None], counts[:, rows])[:, 0]

        found = {"torn": mean(same, torn), "other": mean(same, ~torn)}
        found["own"], found["unrelated"] = mean(own, compared), mean(unrelated, compared)
        ratio = found["own"] / np.where(found["unrelated"] == 0, np.nan, found["unrelated"])
        return found | {"difference": found["torn"] - found["other"], "ratio": ratio}

    found = bootstrap(statistics, [len(torn)], resamples=resamples, seed=seed)
    sizes = int(torn.sum()), int((~torn).sum())
    verdict = "not testable"
    if min(int(compared.sum()), sizes[1]) >= LEAST and found["ratio"]["high"] is not None:
        signs = (found["difference"]["low"] or 0.0) > 0, found["ratio"]["high"] < 1
        verdict = {0: "not seen", 1: "partly", 2: "seen"}[sum(signs)]
    return {
        "questions": {"torn": sizes[0], "other": sizes[1]},
        "same_answer": {key: found[key] for key in ("torn", "other", "difference")},
        "distance": {key: found[key] for key in ("own", "unrelated", "ratio")},
        "verdict": verdict,
    }


def _to_others(
    probs: Float64[np.ndarray, "member example candidate"],
    rest: Float64[np.ndarray, "member example"],
    before: Float64[np.ndarray, "example candidate"],
    before_rest: Float64[np.ndarray, "example"],
    torn: Bool[np.ndarray, "example"],
    choices: Int64[np.ndarray, "example"],
) -> Float64[np.ndarray, "example"]:
    """The mean distance of each torn question to others' pre-trained distributions; nan where there is none."""
    found = np.full(len(torn), np.nan)
    for count in np.unique(choices[torn]):
        rows = np.flatnonzero(torn & (choices == count))
        shifts = range(1, min(len(rows) - 1, OTHERS) + 1)
        if shifts:
            apart = [
                total_variation(probs[:, rows], rest[:, rows], before[other], before_rest[other]).mean(axis=0)
                for other in (np.roll(rows, shift) for shift in shifts)
            ]
            found[rows] = np.mean(apart, axis=0)
    return found
