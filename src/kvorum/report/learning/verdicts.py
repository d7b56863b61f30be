"""What an experiment shows, in plain sentences with their numbers, and what it leaves open."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from kvorum.report.learning.analyse import Function, Learning
from kvorum.report.learning.doubt import DoubtCurve
from kvorum.report.learning.needs import Need
from kvorum.report.learning.numbers import interval, number, percent_level, ratio_interval, shift, times
from kvorum.report.words import count

Standing = Literal["better", "worse", "cannot be told apart", "one seed", "baseline", "not compared"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What is to be said of a function."""

    function: str
    standing: Standing
    """Its area under the learning curve beside random's."""
    sentences: tuple[str, ...]
    """On that, on the labels it needs, on what it chose, on whether doubt falls."""


def verdicts(learning: Learning) -> list[Verdict]:
    """One a function, in the experiment's order."""
    return [
        Verdict(
            function=function.name,
            standing=standing_of(function),
            sentences=tuple(
                filter(
                    None,
                    (
                        _area(function),
                        _labels(learning, function),
                        _noise(learning, function),
                        _pool(learning, function),
                    ),
                )
            ),
        )
        for function in learning.functions
    ]


def standing_of(function: Function) -> Standing:
    """By whether zero lies outside the interval of the difference of the areas on the first test task."""
    area = function.curves[0].accuracy_area
    if function.is_random:
        return "baseline"
    if area is None or area.value is None:
        return "not compared"
    if area.low is None:
        return "one seed"
    side = area.side_of(0.0)
    return "better" if side > 0 else "worse" if side < 0 else "cannot be told apart"


def notes(learning: Learning) -> list[str]:
    """What holds for all the verdicts: whence the intervals are, and what is not done."""
    found = []
    seeds = count(learning.seeds, "seed")
    if learning.seeds == 1:
        found.append(
            "There is one seed. Nothing tells a difference from luck then, so no number has an interval and no "
            "function is said to be better than another. Repeat with other seeds."
        )
    elif learning.compared > 1:
        found.append(
            f"Intervals are t intervals over {seeds}. Those of differences and ratios to random hold at "
            f"{percent_level(learning.level)} each, so that those of all {learning.compared} functions hold at once in "
            f"95% of cases (Bonferroni); for the same reason slopes of doubt and shares of noise hold at "
            f"{percent_level(learning.own_level)}. All others hold at 95%. Neither the several targets nor the several "
            "tasks are corrected for."
        )
    else:
        own = f"; those of slopes and of shares of noise at {percent_level(learning.own_level)}, so that those of all "
        own += f"{len(learning.functions)} functions hold at once in 95% of cases (Bonferroni)"
        found.append(f"Intervals are t intervals over {seeds}, at 95%{own if len(learning.functions) > 1 else ''}.")
    if not learning.has_random:
        found.append("Random is not among the functions, so nothing says whether any of them saves labels.")
    asked = learning.config.rounds
    undone = [f"{each.name} {each.rounds}" for each in learning.functions if each.rounds < asked]
    if undone:
        found.append(
            f"Of {count(asked, 'round')} asked for, not all are done for all seeds: {', '.join(undone)}. Functions are "
            "compared over the rounds that both have."
        )
    if learning.has_random and not learning.targets:
        found.append("Random does not rise above the start, so there is no accuracy to count the labels to.")
    return found


def _area(function: Function) -> str:
    curve = function.curves[0]
    area = curve.accuracy_area
    if area is None or area.value is None:
        return ""
    name, task = function.name, curve.task
    said = shift(area)
    over = f"on {task}, as a mean over {count(curve.compared, 'round')}"
    measured = f"its accuracy differs from random's by {said.text} {over}"
    if area.low is None:
        return f"{name} cannot be judged by one seed: {measured}."
    measured += f" ({percent_level(area.level)} interval {said.interval}, {count(area.seeds, 'seed')})"
    side = area.side_of(0.0)
    if side > 0:
        return f"{name} is better than random: {measured}."
    if side < 0:
        return f"Random is better than {name}: {measured}."
    return f"{name} and random cannot be told apart: {measured}."


def _labels(learning: Learning, function: Function) -> str:
    if function.is_random or not learning.targets or not function.rounds:
        return ""
    groups: dict[str, list[str]] = {}
    for need in function.needs:
        groups.setdefault(_labels_heading(need), []).append(_labels_words(need))
    said = [f"{heading} {_listed(words)}" for heading, words in groups.items()]
    return f"Labels that {function.name} needs: {'; '.join(said)}."


def _labels_heading(need: Need) -> str:
    if need.ratio is None:
        return "nothing to compare for"
    if need.ratio.low is None:
        return "by one seed only, and so not to be judged, for"
    return {
        -1: "fewer than random for",
        1: "more than random for",
        0: "not to be told from random's for",
    }[need.told]


def _labels_words(need: Need) -> str:
    words = f"accuracy {need.target.accuracy:.3f}"
    if need.ratio is None:
        neither = "neither reaches it in the same seed" if need.reached else "it is not reached"
        return f"{words} ({neither} within {need.within:,})"
    beside = f"{times(need.ratio.value)} times"
    if need.ratio.low is not None:
        beside += f", {ratio_interval(need.ratio)}"
    if need.ratio.seeds < len(need.per_seed):
        beside += f"; {need.ratio.seeds} of {len(need.per_seed)} seeds"
    return f"{words} ({beside})"


def _noise(learning: Learning, function: Function) -> str:
    if function.chosen is None or function.chosen.noise is None or function.chosen.noise.value is None:
        return ""
    share = function.chosen.noise
    assert share.value is not None
    of_pool = sum(part.share for part in learning.parts if part.noise)
    side = share.side_of(of_pool)
    beside = {1: "more than", -1: "less than", 0: "not to be told from"}[side]
    words = f"Of what {function.name} chose, {number(share.value)}"
    if share.low is None:
        return f"{words} is noise, labelled by lot; of the pool {number(of_pool)} is."
    return f"{words} ({interval(share)}) is noise, labelled by lot: {beside} its share of the pool, {number(of_pool)}."


def _pool(learning: Learning, function: Function) -> str:
    if not function.rounds:
        return ""
    kinds = {curve.kind: curve for curve in function.doubt}
    places = {"pool": "over the unlabelled pool", "test": f"on {learning.tests[0].task}"}
    said = [f"{where} {_trend_words(kinds[kind])}" for kind, where in places.items()]
    return f"Mutual information under {function.name}: {'; '.join(said)}."


def _trend_words(curve: DoubtCurve) -> str:
    trend = curve.mutual_information
    if trend.slope is None:
        return "is not known"
    said = shift(trend.slope)
    verdict = {
        "falls": "it falls",
        "does not fall": "it does not fall",
        "cannot be told": "whether it falls cannot be told",
    }[trend.verdict]
    within = f", {said.interval}" if said.interval else ""
    return f"{verdict} ({said.text} nats per 100 labels{within})"


def _listed(words: Sequence[str]) -> str:
    *before, last = words
    return f"{', '.join(before)} and {last}" if before else last
