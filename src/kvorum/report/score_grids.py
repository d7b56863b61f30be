"""The page's tables of scores: ensemble and members, sub-ensembles, uncertainties, what the doubt is worth."""

from collections.abc import Mapping
from typing import Any

from kvorum.report.analysis import Analysis, Studied
from kvorum.report.grid import DASH, Body, Entry, Grid, Group, Line, at, by_epoch, marked, number, percent, signed
from kvorum.report.tables import SCORES, Cell, columns_of, table_of
from kvorum.report.words import TABLES

METRICS = [metric for metric in SCORES if metric[0] != "ece_mass"]
DOUBTS = (("predictive_entropy", "predictive entropy"), ("mutual_information", "mutual information"))


def numbers_grid(analysis: Analysis, key: str) -> Grid:
    """One of the tables that the terminal has too: `scores`, `uncertainty` or `ranking`."""
    columns = columns_of(key)
    groups = dict.fromkeys(column.group for column in columns)
    rows = {(row.task, row.epoch): row.cells for row in table_of(analysis.evaluations)}
    return Grid(
        key=key,
        **TABLES[key],
        stub="epoch",
        groups=tuple(
            Group(
                name=group,
                columns=tuple(column.name for column in columns if column.group == group),
                better=next(column.better for column in columns if column.group == group),
            )
            for group in groups
        ),
        bodies=by_epoch(
            analysis,
            [
                [(of, [number(rows[of.task, of.epoch][column.key]) for column in columns]) for of in task]
                for task in analysis.tasks
            ],
        ),
    )


def subensembles_grid(analysis: Analysis) -> Grid:
    """At the marked epochs, a row a size: the mean over its groups, and how far they lie apart."""
    return Grid(
        key="subensembles",
        **TABLES["subensembles"],
        stub="members",
        groups=(
            Group(name="groups", columns=("",)),
            *(Group(name=name, columns=("",), better=better) for _, name, better in METRICS),
            *(Group(name=name, columns=("right, mean", "wrong, mean")) for _, name in DOUBTS),
        ),
        bodies=tuple(
            Body(
                title=at(analysis, of),
                lines=tuple(Line(head=str(row["size"]), entries=_size(row)) for row in of.subensembles),
            )
            for of in marked(analysis)
        ),
    )


def gains_grid(analysis: Analysis) -> Grid | None:
    """At the marked epochs, how much of the gain over one member each size keeps; None where there is one member."""
    several = [of for of in marked(analysis) if len(of.subensembles) > 1]
    if not several:
        return None
    return Grid(
        key="gains",
        **TABLES["gains"],
        stub="members",
        groups=tuple(Group(name=name, columns=("gain", "kept")) for _, name, _ in METRICS),
        bodies=tuple(Body(title=at(analysis, of), lines=tuple(_gains(of))) for of in several),
    )


def _size(row: Mapping[str, Any]) -> tuple[Entry, ...]:
    left_out = row["members_left_out"]
    groups = Entry(text=str(row["groups"]), small=f"{left_out} left over" if left_out else "")
    doubts = [row[key][which] for key, _ in DOUBTS for which in ("correct", "wrong")]
    return groups, *(_spread(spread) for spread in [*(row[key] for key, _, _ in METRICS), *doubts])


def _spread(spread: Mapping[str, Any]) -> Entry:
    several = sum(value is not None for value in spread["per_group"]) > 1
    low, high = (spread["least"], spread["greatest"]) if several else (None, None)
    return number(Cell(value=spread["value"], low=low, high=high))


def _gains(of: Studied) -> list[Line]:
    *_, whole = of.subensembles
    lines = []
    for row in of.subensembles[1:]:
        entries = []
        for key, _, _ in METRICS:
            kept = row["kept"][key]
            if kept is None or kept["value"] is None:
                kept = Entry(text=DASH, small="no clear gain")
            else:
                kept = Entry(text="100%", small="by definition") if row is whole else percent(kept)
            entries += [signed(row["gain"][key]), kept]
        lines.append(Line(head=str(row["size"]), entries=tuple(entries)))
    return lines
