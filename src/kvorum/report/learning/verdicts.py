"""What an experiment shows of each function, and what is to be known of all of it, in plain sentences."""

from dataclasses import dataclass
from typing import Literal

from kvorum.report.learning.analyse import Function, Learning
from kvorum.report.learning.estimate import FEWEST_SEEDS
from kvorum.report.learning.numbers import percent_level
from kvorum.report.learning.sentences import area, chosen_noise, information, labels_needed, likelihood
from kvorum.report.words import count

Standing = Literal["better", "worse", "cannot be told apart", "too few seeds", "baseline", "not compared"]
WITHOUT_RANDOM = "Random is not among the functions, so nothing says whether any of them saves labels."


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What is to be said of a function."""

    function: str
    standing: Standing
    """Its area under the learning curve beside random's."""
    sentences: tuple[str, ...]
    """On that, on its NLL, on the labels it needs, on what it chose, on whether doubt falls."""


def verdicts(learning: Learning) -> list[Verdict]:
    """One a function, in the experiment's order."""
    saying = (area, likelihood, labels_needed, chosen_noise, information)
    return [
        Verdict(
            function=function.name,
            standing=standing_of(function),
            sentences=tuple(filter(None, (say(learning, function) for say in saying))),
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
    if area.seeds < FEWEST_SEEDS:
        return "too few seeds"
    side = area.side_of(0.0)
    return "better" if side > 0 else "worse" if side < 0 else "cannot be told apart"


def notes(learning: Learning) -> list[str]:
    """What holds for all the verdicts: whence the intervals are, and what is not done."""
    return [
        *(_intervals(learning) if learning.seeds >= FEWEST_SEEDS else _too_few(learning)),
        *([] if learning.has_random else [WITHOUT_RANDOM]),
        *_undone(learning),
        *_no_targets(learning),
    ]


def _too_few(learning: Learning) -> list[str]:
    seeds = "There is one seed" if learning.seeds == 1 else f"There are {learning.seeds} seeds"
    return [
        f"{seeds}, too few to tell a difference from luck, so no number has an interval and no function is said to be "
        f"better than another. Repeat with other seeds, {FEWEST_SEEDS} or more in all."
    ]


def _intervals(learning: Learning) -> list[str]:
    words = f"Intervals are t intervals over {count(learning.seeds, 'seed')}"
    own = percent_level(learning.own_level)
    if learning.compared > 1:
        words += (
            f". Those of differences and ratios to random hold at {percent_level(learning.level)} each, so that those "
            f"of all {learning.compared} functions hold at once in 95% of cases (Bonferroni); for the same reason "
            f"slopes of doubt and shares of noise hold at {own}. All others hold at 95%."
        )
    elif len(learning.functions) > 1:
        words += (
            f", at 95%; those of slopes and of shares of noise at {own}, so that those of all "
            f"{len(learning.functions)} functions hold at once in 95% of cases (Bonferroni)."
        )
    else:
        words += ", at 95%."
    return [
        words,
        "Corrected is for the number of functions alone. Not corrected is for the several accuracies to reach, the "
        "test tasks, the two scores (accuracy and NLL), the rounds one by one, the slopes (of mutual information and "
        "entropy, on pool and test), and looks at an experiment before it is done. Of so many intervals, some leave "
        "out zero by luck.",
    ]


def _undone(learning: Learning) -> list[str]:
    asked = learning.config.rounds
    undone = [f"{each.name} {each.rounds}" for each in learning.functions if each.rounds < asked]
    if not undone:
        return []
    return [
        f"Of {count(asked, 'round')} asked for, not all are done for all seeds: {', '.join(undone)}. Functions are "
        "compared up to the labels that both have come to; accuracies to reach are taken from what random has reached "
        "so far, unless they were asked for."
    ]


def _no_targets(learning: Learning) -> list[str]:
    """Why there is no accuracy to count labels to, where it is not for want of random."""
    if learning.targets or not learning.has_random:
        return []
    if not learning.tests[0].known:
        why = f"No right answer on {learning.tests[0].task} is known"
    elif not learning.functions[0].rounds:
        why = "Random has done no round yet"
    else:
        why = "Random does not rise above the start"
    return [f"{why}, so there is no accuracy to count the labels to."]
