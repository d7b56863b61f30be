"""The sentences of a verdict; empty where there is nothing to say."""

from collections.abc import Sequence

from kvorum.report.learning.analyse import Function, Learning
from kvorum.report.learning.doubt import DoubtCurve
from kvorum.report.learning.estimate import FEWEST_SEEDS, Estimate
from kvorum.report.learning.needs import Need
from kvorum.report.learning.numbers import interval, number, percent_level, ratio_interval, shift, times
from kvorum.report.words import count


def area(learning: Learning, function: Function) -> str:
    """Its accuracy beside random's over all rounds that both have."""
    curve = function.curves[0]
    found = curve.accuracy_area
    if found is None or found.value is None:
        return ""
    name = function.name
    beside = f"its accuracy differs from random's by {shift(found).text} on {curve.task}"
    measured = f"{beside}, as a mean over {count(curve.compared, 'round')}{_within(found)}"
    told = {
        1: f"{name} is better than random",
        -1: f"Random is better than {name}",
        0: f"{name} and random cannot be told apart",
    }[found.side_of(0.0)]
    if found.seeds < FEWEST_SEEDS:
        told = f"{count(found.seeds, 'seed')}, too few to tell {name} from random"
    return _begun(learning, curve.compared, f"{told}: {measured}.")


def likelihood(learning: Learning, function: Function) -> str:
    """Its NLL beside random's, over the same rounds."""
    curve = function.curves[0]
    found = curve.nll_area
    if found is None or found.value is None:
        return ""
    measured = f"{shift(found).text} nats over the same rounds{_within(found)}"
    if found.seeds < FEWEST_SEEDS or found.alike:
        return f"Its NLL differs from random's by {measured}."
    return {
        -1: f"Its NLL is lower than random's, which is better: {measured}.",
        1: f"Its NLL is higher than random's, which is worse: {measured}.",
        0: f"Its NLL cannot be told from random's: {measured}.",
    }[found.side_of(0.0)]


def labels_needed(learning: Learning, function: Function) -> str:
    """How many times as many labels as random, and who reaches an accuracy where no such number is."""
    compared = function.curves[0].compared
    if function.is_random or not learning.targets or not compared:
        return ""
    groups: dict[str, list[str]] = {}
    for need in (need for need in function.needs if need.ratio):
        groups.setdefault(_needs_heading(need), []).append(_ratio_words(need, function.name))
    said = [f"{heading} {_listed(words)}" for heading, words in groups.items()]
    said = [f"Labels that {function.name} needs: {'; '.join(said)}."] if said else []
    alone: dict[str, list[str]] = {}
    for need in (need for need in function.needs if not need.ratio):
        alone.setdefault(_who_reaches(need, function.name), []).append(f"{need.target.accuracy:.3f}")
    said += [f"Accuracy {_listed(accuracies)}: {words}." for words, accuracies in alone.items()]
    return _begun(learning, compared, " ".join(said))


def chosen_noise(learning: Learning, function: Function) -> str:
    """How much of what it chose is noise, beside the pool."""
    if function.chosen is None or function.chosen.noise is None or function.chosen.noise.value is None:
        return ""
    share = function.chosen.noise
    pool = number(sum(part.share for part in learning.parts if part.noise))
    whole = "drawn candidates of the pool" if learning.config.candidates else "pool"
    said = f"Of what {function.name} chose, {number(share.value)}"
    if share.low is None:
        said += f" is noise (answers drawn by lot); of the {whole} {pool} is (too few seeds to tell)."
    else:
        side = share.side_of(sum(part.share for part in learning.parts if part.noise))
        beside = {1: "more than", -1: "less than", 0: "not to be told from"}[side]
        said += f" ({interval(share)}) is noise (answers drawn by lot): {beside} its share of the {whole}, {pool}."
    return _begun(learning, function.rounds, said)


def information(learning: Learning, function: Function) -> str:
    """Whether mutual information falls: on the test questions, which stay the same, and over the pool."""
    if not function.rounds:
        return ""
    kinds = {curve.kind: curve for curve in function.doubt}
    pool = "over the drawn candidates of the pool" if learning.config.candidates else "over the unlabelled pool"
    said = (
        f"Mutual information under {function.name}: on {learning.tests[0].task}, whose questions stay the same, "
        f"{_trend_words(kinds['test'])}; {pool} {_trend_words(kinds['pool'])}."
    )
    if _takes_doubtful(function):
        said += " It took the doubtful questions of the pool first, so that part of a fall there is selection."
    return _begun(learning, function.rounds, said)


def _takes_doubtful(function: Function) -> bool:
    """Whether it chose what had more mutual information than the rest."""
    if function.is_random or function.chosen is None:
        return False
    more = function.chosen.mutual_information.difference.value
    return more is not None and more > 0


def _begun(learning: Learning, done: int, sentence: str) -> str:
    """With what is done, where that is not all that was asked for."""
    asked = learning.config.rounds
    if not sentence or done >= asked:
        return sentence
    return f"So far, {done} of {count(asked, 'round')}: {sentence}"


def _within(of: Estimate) -> str:
    """The interval in brackets; for a few seeds, what each has."""
    if of.alike:
        return " (all seeds gave the same number)"
    if of.low is None:
        own = [shift(Estimate.of([value])).text for value in of.per_seed if value is not None]
        return f" ({' and '.join(own)} by seed)" if len(own) > 1 else ""
    return f" ({percent_level(of.level)} interval {shift(of).interval}, {count(of.seeds, 'seed')})"


def _needs_heading(need: Need) -> str:
    assert need.ratio is not None
    if need.ratio.low is None:
        return "by too few seeds to tell, for"
    return {
        -1: "fewer than random for",
        1: "more than random for",
        0: "not to be told from random's for",
    }[need.told]


def _ratio_words(need: Need, name: str) -> str:
    assert need.ratio is not None
    beside = f"{times(need.ratio.value)} times"
    if need.ratio.low is not None:
        beside += f", {ratio_interval(need.ratio)}"
    seeds = len(need.per_seed)
    if need.ratio.seeds < seeds:
        beside += f", over {need.ratio.seeds} of {seeds} seeds"
    if need.only_this or need.only_random:
        beside += f"; {_who_reaches(need, name)}"
    elif need.at_start:
        beside += f"; the start reaches it in {need.at_start} of {seeds} seeds"
    return f"accuracy {need.target.accuracy:.3f} ({beside})"


def _who_reaches(need: Need, name: str) -> str:
    """In how many seeds each of the two does, the one that does in more first."""
    seeds = len(need.per_seed)
    within = f"within {need.compared_within:,} labels"
    if need.at_start == seeds:
        return "the start reaches it in every seed"
    reached = [("random", need.both + need.only_random), (name, need.both + need.only_this)]
    (first, most), (second, fewer) = sorted(reached, key=lambda of: -of[1])
    if not most:
        return f"neither reaches it {within}"
    if most == fewer == need.at_start:
        return f"the start reaches it in {most} of {seeds} seeds, in the others neither does {within}"
    return f"{first} reaches it in {most} of {seeds} seeds, {second} in {fewer or 'none'} {within}"


def _trend_words(curve: DoubtCurve) -> str:
    trend = curve.mutual_information
    if trend.slope is None:
        return "it is not known"
    said = shift(trend.slope)
    verdict = {"falls": "it falls", "rises": "it rises", "cannot be told": "whether it falls cannot be told"}
    within = f", {said.basis}" if said.basis else ""
    return f"{verdict[trend.verdict]} ({said.text} nats per 100 labels{within})"


def _listed(words: Sequence[str]) -> str:
    *before, last = words
    return f"{', '.join(before)} and {last}" if before else last
