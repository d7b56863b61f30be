"""The tables of an experiment's page: labels needed, the end, round by round, whether doubt falls."""

from collections.abc import Mapping
from typing import Any

from kvorum.report.grid import DASH, Body, Entry, Grid, Group, Line
from kvorum.report.learning.analyse import Learning
from kvorum.report.learning.curves import Point
from kvorum.report.learning.doubt import DoubtCurve, Trend
from kvorum.report.learning.estimate import Estimate
from kvorum.report.learning.needs import Need
from kvorum.report.learning.numbers import (
    basis,
    curve_words,
    needed,
    needed_by_mean,
    number,
    range_of,
    ratio_basis,
    shift,
    target_words,
    times,
    way_words,
)
from kvorum.report.learning.read import Test
from kvorum.report.learning.words import TABLES
from kvorum.report.words import count

NOTHING = Entry(text=DASH)
TONES = {"better": "gain", "worse": "loss", "": "", "differs": ""}


def needs_grid(learning: Learning) -> Grid | None:
    """Labels needed for each target; None where there is none."""
    if not learning.targets:
        return None
    ratio = ("against random",) if learning.has_random else ()
    return Grid(
        key="needs",
        **heading("needs"),
        stub="function",
        groups=tuple(
            Group(
                name=", ".join(filter(None, (target_words(target), way_words(target)))),
                columns=("median", "by the mean", *ratio),
            )
            for target in learning.targets
        ),
        bodies=(
            Body(
                title=f"Accuracy on {learning.tests[0].task}",
                lines=tuple(
                    Line(
                        head=function.name,
                        entries=tuple(
                            entry for need in function.needs for entry in _need(need, with_ratio=bool(ratio))
                        ),
                    )
                    for function in learning.functions
                ),
            ),
        ),
    )


def ends_grid(learning: Learning) -> Grid:
    """Every function after its last round, by test task."""
    compared = learning.has_random
    return Grid(
        key="ends",
        **heading("ends"),
        stub="function",
        groups=(
            Group(name="labels", columns=("",)),
            *_score_groups(compared=compared),
            *((Group(name="over all rounds, minus random", columns=("accuracy ↑", "NLL ↓")),) if compared else ()),
        ),
        bodies=tuple(
            Body(
                title=_test_words(test),
                lines=tuple(
                    Line(
                        head=function.name,
                        entries=(
                            Entry(text=f"{function.labels:,}"),
                            *_scores(function.curves[place].points[-1], compared=compared),
                            *(
                                (
                                    difference(function.curves[place].accuracy_area, "higher"),
                                    difference(function.curves[place].nll_area, "lower"),
                                )
                                if compared
                                else ()
                            ),
                        ),
                    )
                    for function in learning.functions
                ),
            )
            for place, test in enumerate(learning.tests)
        ),
    )


def rounds_grid(learning: Learning) -> Grid:
    """Every round of every function on every test task."""
    compared = learning.has_random
    return Grid(
        key="rounds",
        **heading("rounds"),
        stub="labels",
        groups=_score_groups(compared=compared),
        bodies=tuple(
            Body(
                title=f"{function.name} on {test.task}",
                lines=tuple(
                    Line(head=f"{point.labels:,}", entries=_scores(point, compared=compared))
                    for point in function.curves[place].points
                ),
            )
            for place, test in enumerate(learning.tests)
            for function in learning.functions
        ),
    )


def doubt_grid(learning: Learning) -> Grid:
    """Doubt at the start and at the end, its slope, and whether it falls, by function."""
    columns = ("start", "last", "per 100 labels", "verdict")
    return Grid(
        key="doubt",
        **heading("doubt"),
        words=("Of the pool: over the candidates drawn for each round.",) if learning.config.candidates else (),
        stub="questions",
        groups=(Group(name="mutual information", columns=columns), Group(name="entropy", columns=columns)),
        bodies=tuple(
            Body(
                title=function.name,
                lines=tuple(
                    Line(
                        head=curve_words(curve),
                        entries=(
                            *_trend(curve, "mutual_information", curve.mutual_information),
                            *_trend(curve, "entropy", curve.entropy),
                        ),
                    )
                    for curve in function.doubt
                ),
            )
            for function in learning.functions
        ),
    )


def estimate(of: Estimate | None) -> Entry:
    """A mean over its interval."""
    return NOTHING if of is None else Entry(text=number(of.value), small=basis(of))


def difference(of: Estimate | None, better: str = "") -> Entry:
    """A difference with its sign, over its interval; coloured where it is told from zero."""
    if of is None:
        return NOTHING
    said = shift(of, better)
    return Entry(text=said.text, small=said.basis, tone=TONES[said.verdict])


def heading(key: str) -> Mapping[str, Any]:
    """A table's title and what stands over it."""
    title, hint = TABLES[key]
    return {"title": title, "hint": hint}


def _test_words(test: Test) -> str:
    words = f"{test.task}: {count(test.questions, 'question')}"
    return words + (f", {test.known:,} with a known answer" if test.known != test.questions else "")


def _score_groups(*, compared: bool) -> tuple[Group, ...]:
    return (
        Group(name="accuracy", columns=("",), better="higher"),
        Group(name="NLL", columns=("",), better="lower"),
        *((Group(name="minus random", columns=("accuracy ↑", "NLL ↓")),) if compared else ()),
    )


def _scores(point: Point, *, compared: bool) -> tuple[Entry, ...]:
    beside = (difference(point.accuracy_difference, "higher"), difference(point.nll_difference, "lower"))
    return (estimate(point.accuracy), estimate(point.nll), *(beside if compared else ()))


def _need(need: Need, *, with_ratio: bool) -> tuple[Entry, ...]:
    median = Entry(text=needed(need), small=range_of(need))
    by_mean = Entry(text=needed_by_mean(need))
    if not with_ratio:
        return median, by_mean
    if need.ratio is None:
        return median, by_mean, Entry(text=DASH, small=ratio_basis(need))
    tone = {-1: "gain", 1: "loss", 0: ""}[need.told]
    return median, by_mean, Entry(text=f"{times(need.ratio.value)} ×", small=ratio_basis(need), tone=tone)


def _trend(curve: DoubtCurve, key: str, trend: Trend) -> tuple[Entry, ...]:
    first, last = (getattr(curve.points[place], key) for place in (0, -1))
    return estimate(first), estimate(last), difference(trend.slope), Entry(text=trend.verdict if trend.slope else DASH)
