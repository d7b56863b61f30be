"""An experiment in active learning, for a terminal."""

from collections.abc import Iterator

from rich.table import Table
from rich.text import Text

from kvorum.report.learning.analyse import Function, Learning
from kvorum.report.learning.estimate import FEWEST_SEEDS, Estimate
from kvorum.report.learning.needs import Need
from kvorum.report.learning.numbers import (
    basis,
    needed,
    number,
    range_of,
    ratio_basis,
    shift,
    target_words,
    times,
    way_words,
)
from kvorum.report.learning.verdicts import Standing, notes, standing_of, verdicts

STYLES: dict[Standing, str] = {
    "better": "green",
    "worse": "red",
    "cannot be told apart": "yellow",
    "too few seeds": "dim",
    "baseline": "dim",
    "not compared": "dim",
}

MARKED = (
    "* told from random: the interval under it leaves out 0, or for a number of times (×) 1, and no seed that a number "
    "of times is not over speaks against it."
)


def learning_tables(learning: Learning) -> Iterator[Table | Text]:
    """Where every function has come to, the labels that it needs, and what is to be said of it."""
    yield _headline(learning)
    if learning.targets:
        yield Text()
        yield _needs(learning)
    if learning.compared and learning.seeds >= FEWEST_SEEDS:
        yield Text()
        yield Text(MARKED, style="dim")
    yield Text()
    for verdict in verdicts(learning):
        yield Text(verdict.function, style="bold").append(f" ({verdict.standing})", style=STYLES[verdict.standing])
        for sentence in verdict.sentences:
            yield Text(f"  {sentence}")
    yield Text()
    for note in notes(learning):
        yield Text(note, style="dim")


def _headline(learning: Learning) -> Table:
    compared = ["accuracy less random's", "over all rounds", "beside random"] if learning.has_random else []
    table = _table(f"On {learning.tests[0].task}", ["function", "labels", "accuracy", "NLL", *compared])
    for function in learning.functions:
        curve = function.curves[0]
        last = curve.points[-1]
        beside = (_difference(last.accuracy_difference), _difference(curve.accuracy_area), _standing(function))
        table.add_row(
            Text(function.name),
            f"{function.labels:,}",
            _estimate(last.accuracy),
            _estimate(last.nll),
            *(beside if learning.has_random else ()),
        )
    return table


def _needs(learning: Learning) -> Table:
    headings = [f"{target_words(target)}\n{way_words(target)}".strip() for target in learning.targets]
    against = ", and how many times random's" if learning.has_random else ""
    table = _table(f"Labels needed: median over seeds{against}", ["function", *headings])
    for function in learning.functions:
        table.add_row(Text(function.name), *map(_need, function.needs))
    return table


def _table(title: str, headings: list[str]) -> Table:
    table = Table(title=Text(title), title_justify="left", title_style="", box=None, pad_edge=False)
    for place, heading in enumerate(headings):
        table.add_column(Text(heading, style="bold"), justify="right" if place else "left")
    return table


def _estimate(of: Estimate) -> Text:
    return _over(number(of.value), basis(of))


def _difference(of: Estimate | None) -> Text:
    if of is None:
        return Text("–")
    said = shift(of)
    return _over(f"{'*' if said.side else ''}{said.text}", said.basis)


def _need(need: Need) -> Text:
    text = _over(needed(need), range_of(need))
    if need.ratio is not None:
        mark = "*" if need.told else ""
        text.append("\n").append(_over(f"{mark}{times(need.ratio.value)} ×", ratio_basis(need)))
    elif ratio_basis(need):
        text.append(f"\n{ratio_basis(need)}", style="dim")
    return text


def _standing(function: Function) -> Text:
    standing = standing_of(function)
    return Text(standing, style=STYLES[standing])


def _over(words: str, below: str) -> Text:
    text = Text(words)
    return text.append(f"\n{below}", style="dim") if below else text
