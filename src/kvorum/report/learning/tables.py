"""The tables of an experiment's page: labels needed, the end, round by round, what was chosen, whether doubt falls."""

from collections.abc import Mapping
from typing import Any

from kvorum.report.grid import DASH, Body, Entry, Grid, Group, Line
from kvorum.report.learning.analyse import Function, Learning
from kvorum.report.learning.chosen import Chosen, Doubt
from kvorum.report.learning.curves import Point
from kvorum.report.learning.doubt import DoubtCurve, Trend
from kvorum.report.learning.estimate import Estimate
from kvorum.report.learning.needs import Need
from kvorum.report.learning.numbers import (
    curve_words,
    interval,
    labels,
    needed,
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
        **_words("needs"),
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
                            entry for need in function.needs for entry in _need(need, function, with_ratio=bool(ratio))
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
        **_words("ends"),
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
        **_words("rounds"),
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


def chosen_grid(learning: Learning) -> Grid | None:
    """Parts, repeats and doubt of what each function chose; None where nothing is chosen yet."""
    chosen = _chosen(learning)
    if not chosen:
        return None
    noisy = any(part.noise for part in learning.parts)
    parts = tuple(f"{part.part}{' (noise)' if part.noise else ''}" for part in learning.parts)
    pool = "; ".join(f"{name} {number(part.share)}" for name, part in zip(parts, learning.parts, strict=True))
    several = len(parts) > 1
    return Grid(
        key="chosen",
        **_words("chosen"),
        words=(f"Of the unlabelled pool after the start: {pool}.",) if several else (),
        stub="function",
        groups=(
            Group(name="chosen", columns=("",)),
            *((Group(name="share of each part", columns=parts),) if several else ()),
            *((Group(name="noise", columns=("",)),) if noisy else ()),
            Group(name="repeats", columns=("",)),
            Group(name="entropy", columns=("chosen", "minus pool")),
            Group(name="MI", columns=("chosen", "minus pool")),
        ),
        bodies=(
            Body(
                title=f"Over {count(learning.seeds, 'seed')}",
                lines=tuple(
                    Line(
                        head=name,
                        entries=(
                            Entry(text=f"{of.questions:,}"),
                            *((estimate(part.share) for part in of.parts) if several else ()),
                            *((estimate(of.noise),) if noisy else ()),
                            Entry(text=number(of.repeats_share.value), small=f"{of.repeats:,} in all"),
                            *_doubt(of.entropy),
                            *_doubt(of.mutual_information),
                        ),
                    )
                    for name, of in chosen.items()
                ),
            ),
        ),
    )


def subjects_grid(learning: Learning) -> Grid | None:
    """The commonest subjects of each function; None where no question has one."""
    chosen = _chosen(learning)
    if not any(subject.subject for of in chosen.values() for subject in of.subjects):
        return None
    return Grid(
        key="subjects",
        **_words("subjects"),
        stub="subject",
        groups=(Group(name="questions", columns=("",)), Group(name="share", columns=("",))),
        bodies=tuple(
            Body(
                title=name + (f" (and {count(of.other_subjects, 'other subject')})" if of.other_subjects else ""),
                lines=tuple(
                    Line(
                        head=subject.subject or "(none)",
                        entries=(Entry(text=f"{subject.questions:,}"), Entry(text=number(subject.share))),
                    )
                    for subject in of.subjects
                ),
            )
            for name, of in chosen.items()
        ),
    )


def overlaps_grid(learning: Learning) -> Grid | None:
    """What every two functions have in common; None where no two have chosen."""
    if not learning.overlaps:
        return None
    found = {frozenset((of.first, of.second)): of for of in learning.overlaps}
    names = [function.name for function in learning.functions if function.chosen]
    return Grid(
        key="overlaps",
        **_words("overlaps"),
        stub="function",
        groups=tuple(Group(name=name, columns=("",)) for name in names),
        bodies=(
            Body(
                title="Jaccard index",
                lines=tuple(
                    Line(
                        head=first,
                        entries=tuple(
                            NOTHING if first == second else estimate(found[frozenset((first, second))].jaccard)
                            for second in names
                        ),
                    )
                    for first in names
                ),
            ),
        ),
    )


def doubt_grid(learning: Learning) -> Grid:
    """Doubt at the start and at the end, its slope, and whether it falls, by function."""
    columns = ("start", "last", "per 100 labels", "verdict")
    return Grid(
        key="doubt",
        **_words("doubt"),
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
    return NOTHING if of is None else Entry(text=number(of.value), small=interval(of))


def difference(of: Estimate | None, better: str = "") -> Entry:
    """A difference with its sign, over its interval; coloured where zero lies outside."""
    if of is None:
        return NOTHING
    said = shift(of, better)
    return Entry(text=said.text, small=said.interval, tone=TONES[said.verdict])


def _words(key: str) -> Mapping[str, Any]:
    title, hint = TABLES[key]
    return {"title": title, "hint": hint}


def _chosen(learning: Learning) -> dict[str, Chosen]:
    return {function.name: function.chosen for function in learning.functions if function.chosen}


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


def _need(need: Need, function: Function, *, with_ratio: bool) -> tuple[Entry, ...]:
    median = Entry(text=needed(need), small=range_of(need))
    by_mean = Entry(text=f"> {need.within:,}" if need.by_mean is None else labels(need.by_mean))
    if not with_ratio:
        return median, by_mean
    if need.ratio is None:
        return median, by_mean, NOTHING
    tone = {-1: "gain", 1: "loss", 0: ""}[need.told]
    return median, by_mean, Entry(text=f"{times(need.ratio.value)} ×", small=ratio_basis(need), tone=tone)


def _doubt(doubt: Doubt) -> tuple[Entry, Entry]:
    return estimate(doubt.chosen), difference(doubt.difference)


def _trend(curve: DoubtCurve, key: str, trend: Trend) -> tuple[Entry, ...]:
    first, last = (getattr(curve.points[place], key) for place in (0, -1))
    return estimate(first), estimate(last), difference(trend.slope), Entry(text=trend.verdict)
