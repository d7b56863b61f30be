"""Numbers of an experiment as one reads them, on the page, in sentences and on a terminal."""

from dataclasses import dataclass

from kvorum.report.comparison.tables import Shift
from kvorum.report.learning.doubt import DoubtCurve
from kvorum.report.learning.estimate import ROUNDING, Estimate
from kvorum.report.learning.needs import Need, Target
from kvorum.report.tables import Cell

DASH = "–"
LARGEST_RATIO = 100


def number(value: float | None) -> str:
    """In as many digits as tell something; a dash where it is not defined."""
    return Cell(value=value).text.replace("-", "−")


def interval(of: Estimate) -> str:
    """`low to high`, or empty where there is none."""
    return "" if of.low is None or of.high is None else f"{number(of.low)} to {number(of.high)}"


def basis(of: Estimate) -> str:
    """What stands under a number: its interval, or why there is none where seeds are enough for one."""
    return "all seeds alike" if of.alike else interval(of)


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """A difference in words."""

    text: str
    """With its sign."""
    interval: str
    """`low to high`, or empty where there is none."""
    basis: str
    """The interval, or why there is none where seeds are enough for one."""
    side: int
    """What marks, colours and sentences all go by: 1 where it is told to lie above zero, -1 below, 0 neither."""
    better: str
    """`higher`, `lower` or empty where neither is better."""

    @property
    def verdict(self) -> str:
        """`better`, `worse`, `differs` where neither is; empty where it is not told from zero."""
        if not self.side or not self.better:
            return "differs" if self.side else ""
        return "better" if (self.side > 0) == (self.better == "higher") else "worse"


def shift(of: Estimate, better: str = "") -> Difference:
    """A difference with its sign; what rounding left of zero is zero."""
    value, low, high = (
        None if each is None else 0.0 if abs(each) < ROUNDING else each for each in (of.value, of.low, of.high)
    )
    said = Shift(value=value, low=low, high=high)
    return Difference(
        text=said.text,
        interval=said.interval,
        basis="all seeds alike" if of.alike else said.interval,
        side=of.side_of(0.0),
        better=better,
    )


def labels(value: float | None) -> str:
    """A number of labels, which may lie between two rounds."""
    return DASH if value is None else f"{value:,.0f}"


def times(value: float | None) -> str:
    """A ratio; one beyond a hundredfold, as ends of an interval over few seeds are, only as such."""
    if value is None:
        return DASH
    if value > LARGEST_RATIO:
        return f">{LARGEST_RATIO}"
    return f"{value:.2f}" if value >= 1 / LARGEST_RATIO else f"<{1 / LARGEST_RATIO:.2f}"


def ratio_interval(of: Estimate) -> str:
    """`low to high` of a ratio, or empty where there is none."""
    return "" if of.low is None or of.high is None else f"{times(of.low)} to {times(of.high)}"


def ratio_basis(need: Need) -> str:
    """The interval of a need's ratio, the seeds that it is over where that is not all, and what became of the rest."""
    if need.compared_within is None:
        return ""
    seeds = len(need.per_seed)
    lines = [ratio_interval(need.ratio) or "no interval"] if need.ratio else []
    if need.ratio and need.ratio.seeds < seeds:
        lines.append(f"{need.ratio.seeds} of {seeds} seeds")
    left_out = {"at the start": need.at_start, "random only": need.only_random, "this only": need.only_this}
    lines += [f"{words}: {number} of {seeds}" for words, number in left_out.items() if number]
    return "\n".join(lines)


def needed(need: Need) -> str:
    """The median of labels needed: at most those of the start, or more than the function has come to."""
    if not need.begun:
        return DASH
    if need.median is None:
        return f"> {need.within:,}"
    # Of an even number of seeds the median is the mean of the two in the middle.
    return _at_most(need.median, censored=need.at_start * 2 >= len(need.per_seed))


def needed_by_mean(need: Need) -> str:
    """The same of the curve of the mean."""
    if not need.begun:
        return DASH
    return f"> {need.within:,}" if need.by_mean is None else _at_most(need.by_mean, censored=need.mean_at_start)


def range_of(need: Need) -> str:
    """From the seed that needs the fewest to the one that needs the most, and how many reach the target at all."""
    seeds = len(need.per_seed)
    if not need.begun:
        return ""
    if need.least is None:
        return "not reached"
    least = _at_most(need.least, censored=need.at_start > 0)
    if need.most is None:
        return f"{least} to > {need.within:,}\n{need.reached} of {seeds} reach it"
    if need.at_start == seeds:
        return "at the start"
    return f"{least} to {labels(need.most)}" if seeds > 1 else ""


def target_words(target: Target) -> str:
    """An accuracy to reach, and where it comes from."""
    return f"accuracy {target.accuracy:.3f}"


def way_words(target: Target) -> str:
    """How much of random's way a target is; empty for one that was asked for."""
    return "" if target.way is None else f"{target.way:.0%} of random's way"


def curve_words(curve: DoubtCurve) -> str:
    """What questions a curve of doubt is about."""
    return {
        "pool": "unlabelled pool",
        "part": f"unlabelled pool: {curve.name}",
        "noise": f"unlabelled pool: {curve.name} (noise)",
        "test": f"test: {curve.name}",
    }[curve.kind]


def percent_level(level: float) -> str:
    """The level of an interval: `95%`, `98.75%`."""
    return f"{100 * level:.4g}%"


def _at_most(value: float, *, censored: bool) -> str:
    return f"≤ {labels(value)}" if censored else labels(value)
