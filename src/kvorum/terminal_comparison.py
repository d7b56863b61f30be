"""A comparison of runs, for a terminal."""

from collections.abc import Iterator

from rich.table import Table
from rich.text import Text

from kvorum.report.comparison.compare import Comparison, Moment
from kvorum.report.comparison.tables import BY_KEY, Shift, against, heading_of, lines_of, setting_in_words, title_of
from kvorum.report.tables import Cell

SHOWN = ("accuracy", "nll", "ece", "mutual_information", "wrong_auroc.predictive_entropy")
"""As many as fit beside each other; the page has all."""
READING = (
    "The baseline's numbers stand over their 95% intervals, the others' beside their differences to it, over the "
    "intervals of these (paired: both resampled with the same questions). * marks a difference whose interval leaves "
    "out zero. Intervals speak of other questions, not of another fit or seed."
)


def comparison_tables(comparison: Comparison) -> Iterator[Table | Text]:
    """What differs, then for each task the runs at their best and last epochs, with differences to the baseline."""
    yield Text(against(comparison), style="bold")
    yield Text()
    if comparison.settings:
        yield _settings(comparison)
    else:
        yield Text("No setting differs between the runs.")
    yield Text()
    for task in comparison.tasks:
        yield Text(heading_of(comparison, task), style="bold")
        for moment in task.ends:
            yield _numbers(comparison, moment)
        yield Text()
    for note in comparison.notes:
        yield Text(f"note: {note}")
    yield Text(READING, style="dim")


def _settings(comparison: Comparison) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("differs")
    for name in comparison.names:
        table.add_column(Text(name), overflow="fold")
    for setting in comparison.settings:
        name = setting.name.replace("_", " ") + (" (found)" if setting.found else "")
        table.add_row(name, *(Text(_short(words)) for words in setting_in_words(setting)))
    return table


def _numbers(comparison: Comparison, moment: Moment) -> Table:
    columns = [BY_KEY[key] for key in SHOWN]
    table = Table(
        title=title_of(moment), title_justify="left", title_style="", box=None, pad_edge=False, header_style="bold"
    )
    table.add_column("", max_width=24, overflow="fold")
    for column in columns:
        table.add_column(f"{column.name} {column.arrow}".strip(), justify="right")
    for line in lines_of(comparison, [moment], columns):
        table.add_row(Text(line.run), *(_words(cell, shift) for cell, shift in line.cells))
    return table


def _words(cell: Cell, shift: Shift | None) -> Text:
    words = Text(cell.text)
    if shift is not None:
        words.append(f" ({'*' if shift.beyond else ''}{shift.text})", style="bold" if shift.beyond else "")
    if interval := cell.interval if shift is None else shift.interval:
        words.append(f"\n{interval}", style="dim")
    return words


def _short(words: str, limit: int = 40) -> str:
    words = " ".join(words.split())
    return words if len(words) <= limit else words[: limit - 1] + "…"
