"""Numbers of an experiment as one reads them, on the page, in sentences and on a terminal."""

from kvorum.report.comparison.tables import Shift
from kvorum.report.learning.doubt import DoubtCurve
from kvorum.report.learning.estimate import Estimate
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


def shift(of: Estimate, better: str = "") -> Shift:
    """A difference with its sign."""
    return Shift(value=of.value, low=of.low, high=of.high, better=better)


def labels(value: float | None) -> str:
    """A number of labels, which may lie between two rounds."""
    return DASH if value is None else f"{value:,.0f}"


def times(value: float | None) -> str:
    """A ratio; one beyond a hundredfold, as ends of an interval over two seeds are, only as such."""
    if value is None:
        return DASH
    if value > LARGEST_RATIO:
        return f">{LARGEST_RATIO}"
    return f"{value:.2f}" if value >= 1 / LARGEST_RATIO else f"<{1 / LARGEST_RATIO:.2f}"


def ratio_interval(of: Estimate) -> str:
    """`low to high` of a ratio, or empty where there is none."""
    return "" if of.low is None or of.high is None else f"{times(of.low)} to {times(of.high)}"


def ratio_basis(need: Need) -> str:
    """The interval of a need's ratio, and the seeds that it is over where that is not all of them."""
    if need.ratio is None:
        return ""
    within = ratio_interval(need.ratio)
    if need.ratio.seeds == len(need.per_seed):
        return within
    return f"{within or 'no interval'}\n{need.ratio.seeds} of {len(need.per_seed)} seeds"


def needed(need: Need) -> str:
    """The median of labels needed: at most those of the start, or more than the function has come to."""
    if need.median is None:
        return f"> {need.within:,}"
    return labels(need.median) if need.at_start * 2 <= len(need.per_seed) else f"≤ {labels(need.median)}"


def range_of(need: Need) -> str:
    """From the seed that needs the fewest to the one that needs the most, and how many reach the target at all."""
    seeds = len(need.per_seed)
    if need.least is None:
        return "not reached"
    if need.most is None:
        return f"{labels(need.least)} to > {need.within:,}\n{need.reached} of {seeds} reach it"
    return f"{labels(need.least)} to {labels(need.most)}" if seeds > 1 else ""


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
