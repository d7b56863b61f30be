"""What fewer members would have given, from the predictions of many: no forward pass is repeated.

Twenty members are 20 ensembles of one, 4 of five, 2 of ten and 1 of twenty. Members are split into disjoint groups, in
order; each group is an ensemble of its own, and its metrics are averaged over the groups. Their spread is what another
fit of that size would have moved them by, as far as a few groups can tell.

Source: Balabanov and Linander, arXiv 2402.12264, figure 1.
"""

from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np
from jaxtyping import Float, Float64, Int

from kvorum.errors import KvorumError
from kvorum.uncertainty.bootstrap import Interval, bootstrap
from kvorum.uncertainty.entropy import RESOLUTION, mutual_information, predictive_entropy
from kvorum.uncertainty.voice import CALIBRATION, Voice, resampled_scores

SIZES = (1, 5, 10, 20)
METRICS = ("accuracy", "nll", "brier", "ece")
SIGNS = {"accuracy": 1.0, "nll": -1.0, "brier": -1.0, "ece": -1.0}
MOST_SIZES = 5


class Spread(TypedDict):
    """A number of each group; their mean, standard deviation (None for one group), least and greatest."""

    value: float | None
    std: float | None
    least: float | None
    greatest: float | None
    per_group: list[float | None]


def default_sizes(members: int) -> tuple[int, ...]:
    """The paper's sizes 1, 5, 10 and 20 as far as they divide the members, and all; else whatever divides them."""
    of_paper = sorted({size for size in SIZES if members % size == 0} | {members})
    if len(of_paper) >= 3:
        return tuple(of_paper)
    dividing = [size for size in range(1, members + 1) if members % size == 0]
    if len(dividing) <= MOST_SIZES:
        return tuple(dividing)
    places = np.unique(np.round(np.linspace(0, len(dividing) - 1, MOST_SIZES)).astype(int))
    return tuple(dividing[place] for place in places)


def disjoint_groups(members: int, size: int) -> list[range]:
    """As many groups of consecutive members as there is room for; members that fill no group are in none.

    Raises KvorumError for a size below 1 or above the number of members.
    """
    if not 1 <= size <= members:
        raise KvorumError(f"there is no group of {size} among {members} members; expected 1 to {members}")
    return [range(start, start + size) for start in range(0, members - size + 1, size)]


def subensembles(
    probs: Float[np.ndarray, "member example candidate"],
    rest: Float[np.ndarray, "member example"],
    answers: Int[np.ndarray, "example"],
    sizes: Sequence[int] | None = None,
    *,
    bins: int = 10,
    resamples: int = 1000,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """For each size, ascending: metrics and uncertainties averaged over its groups, and what it gains over one member.

    `gain` of a metric is how much better it is than a single member's, positive = better, and `kept` the share of the
    whole ensemble's gain that this is (1 = all of it), both with 95% intervals by bootstrap over questions, but for
    `kept` of the calibration error, a ratio of biased numbers, which has none. Where members are left over, both are
    of those in the groups alone. `kept` is None where the whole ensemble's gain is not clearly above 0: there is
    nothing to keep. Entropies, over all questions and over the right and the wrong answers of each group, and NLL are
    in nats. Sizes above the number of members are left out.
    """
    sizes = sorted({size for size in (sizes or default_sizes(len(probs))) if size <= len(probs)} | {1, len(probs)})
    known = answers >= 0
    groups = {size: disjoint_groups(len(probs), size) for size in sizes}
    # All members, but for those that fill no group of a size.
    taken = {size: range(size * len(groups[size])) for size in sizes}
    voices = {
        group: Voice.of_mean(
            probs[group.start : group.stop][:, known],
            rest[group.start : group.stop][:, known],
            answers[known],
            bins=bins,
        )
        for group in dict.fromkeys([*(group for of in groups.values() for group in of), *taken.values()])
    }
    places = {group: place for place, group in enumerate(voices)}

    def gains(counts: Float64[np.ndarray, "resample example"]) -> dict[str, Float64[np.ndarray, "resample"]]:
        scores = resampled_scores(list(voices.values()), counts, METRICS)

        def gain(of: Sequence[range], metric: str) -> Float64[np.ndarray, "resample"]:
            """Over the same members, each alone."""
            alone = [range(member, member + 1) for group in of for member in group]
            means = [scores[metric][[places[group] for group in some]].mean(axis=0) for some in (of, alone)]
            gained = SIGNS[metric] * (means[0] - means[1])
            # Members that agree leave rounding errors, which are no gain to keep a share of.
            return np.where(np.abs(gained) <= RESOLUTION, 0.0, gained)

        found = {}
        for metric in METRICS:
            for size in sizes:
                found[f"gain/{size}/{metric}"] = gained = gain(groups[size], metric)
                found[f"whole/{size}/{metric}"] = whole = gain([taken[size]], metric)
                found[f"kept/{size}/{metric}"] = gained / np.where(whole == 0, np.nan, whole)
        return found

    biased = [f"{what}/{size}/{metric}" for what in ("gain", "whole") for size in sizes for metric in CALIBRATION]
    found = bootstrap(gains, [int(known.sum())], resamples=resamples, seed=seed, reflected=biased, least=-np.inf)

    def kept(size: int, metric: str) -> Interval | None:
        if (found[f"whole/{size}/{metric}"]["low"] or 0.0) <= 0:
            return None
        share = found[f"kept/{size}/{metric}"]
        return Interval(value=share["value"], low=None, high=None) if metric in CALIBRATION else share

    once = np.ones((1, int(known.sum())))
    rows = []
    for size in sizes:
        of_size = [voices[group] for group in groups[size]]
        scored = resampled_scores(of_size, once, METRICS)
        rows.append(
            {
                "size": size,
                "groups": len(groups[size]),
                "members_left_out": len(probs) - len(taken[size]),
                **{metric: _spread(scored[metric][:, 0]) for metric in METRICS},
                **_uncertainties(probs, rest, known, groups[size], of_size),
                "gain": {metric: found[f"gain/{size}/{metric}"] for metric in METRICS},
                "kept": {metric: kept(size, metric) for metric in METRICS},
            }
        )
    return rows


def _uncertainties(
    probs: Float[np.ndarray, "member example candidate"],
    rest: Float[np.ndarray, "member example"],
    known: np.ndarray,
    groups: Sequence[range],
    voices: Sequence[Voice],
) -> dict[str, dict[str, Spread]]:
    found: dict[str, dict[str, list[float]]] = {
        name: {"all": [], "correct": [], "wrong": []} for name in ("predictive_entropy", "mutual_information")
    }
    for group, voice in zip(groups, voices, strict=True):
        part = probs[list(group)], rest[list(group)]
        for name, values in (
            ("predictive_entropy", predictive_entropy(*part)),
            ("mutual_information", mutual_information(*part)),
        ):
            found[name]["all"].append(_mean(values))
            found[name]["correct"].append(_mean(values[known][voice.correct]))
            found[name]["wrong"].append(_mean(values[known][~voice.correct]))
    return {name: {which: _spread(values) for which, values in of.items()} for name, of in found.items()}


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _spread(values: Sequence[float] | np.ndarray) -> Spread:
    """Groups in which the number is not defined (no wrong answer among them) are left out of its mean."""
    defined = np.array([value for value in values if not np.isnan(value)])
    return Spread(
        value=float(defined.mean()) if len(defined) else None,
        std=float(defined.std(ddof=1)) if len(defined) > 1 else None,
        least=float(defined.min()) if len(defined) else None,
        greatest=float(defined.max()) if len(defined) else None,
        per_group=[None if np.isnan(value) else float(value) for value in values],
    )
