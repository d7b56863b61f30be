"""A comparison's numbers and differences in words, for the page, the terminal and the figures."""

from collections.abc import Sequence
from dataclasses import dataclass

from kvorum.report.comparison.compare import BEST, LAST, ComparedTask, Comparison, Moment, Standing
from kvorum.report.comparison.settings import Setting
from kvorum.report.ran import in_words
from kvorum.report.tables import NOTHING, Cell
from kvorum.uncertainty import Interval


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """A number that runs are compared by."""

    key: str
    name: str
    better: str = ""
    """`higher`, `lower` or empty where neither is better."""

    @property
    def arrow(self) -> str:
        """Which way is better."""
        return {"higher": "↑", "lower": "↓", "": ""}[self.better]


COMPARED = (
    Compared(key="accuracy", name="accuracy", better="higher"),
    Compared(key="nll", name="NLL", better="lower"),
    Compared(key="members_nll", name="NLL, members", better="lower"),
    Compared(key="brier", name="Brier", better="lower"),
    Compared(key="ece", name="ECE", better="lower"),
    Compared(key="predictive_entropy", name="entropy"),
    Compared(key="mutual_information", name="MI"),
    Compared(key="wrong_auroc.predictive_entropy", name="AUROC, entropy", better="higher"),
    Compared(key="wrong_auroc.mutual_information", name="AUROC, MI", better="higher"),
)
BY_KEY = {compared.key: compared for compared in COMPARED}


@dataclass(frozen=True, kw_only=True, slots=True)
class Shift:
    """A difference to the baseline, and whether its interval leaves out zero."""

    value: float | None
    low: float | None
    high: float | None
    better: str = ""

    @classmethod
    def of(cls, difference: Interval, better: str = "") -> "Shift":
        """A difference as `uncertainty.paired` gives it; what rounding left of zero is zero."""
        value, low, high = (
            None if part is None else 0.0 if abs(part) < NOTHING else part
            for part in (difference["value"], difference["low"], difference["high"])
        )
        return cls(value=value, low=low, high=high, better=better)

    @property
    def beyond(self) -> bool:
        """Whether zero lies outside the interval: more than other questions of the same kind would explain."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)

    @property
    def verdict(self) -> str:
        """`better` or `worse` than the baseline, `differs` where neither is; empty where the interval holds zero."""
        if not self.beyond or self.value is None:
            return ""
        if not self.better:
            return "differs"
        return "better" if (self.value > 0) == (self.better == "higher") else "worse"

    @property
    def text(self) -> str:
        """The difference with its sign; a dash where it is not defined."""
        return "–" if self.value is None else _signed(self.value, self._decimals)

    @property
    def interval(self) -> str:
        """`low to high`, or empty where there is none."""
        if self.low is None or self.high is None:
            return ""
        return f"{_signed(self.low, self._decimals)} to {_signed(self.high, self._decimals)}"

    @property
    def _decimals(self) -> int:
        largest = max(abs(part) for part in (self.value, self.low, self.high) if part is not None)
        return 4 if NOTHING <= largest < 0.0995 else 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """A run at a moment, in words."""

    run: str
    place: int
    """Of the run among those compared; 0 is the baseline."""
    at: str
    epoch: int
    of: int
    """How many runs the moment has."""
    cells: tuple[tuple[Cell, Shift | None], ...]
    """One a column."""


def lines_of(comparison: Comparison, moments: Sequence[Moment], columns: Sequence[Compared] = COMPARED) -> list[Line]:
    """A line a moment and run, the baseline's first."""
    return [
        Line(
            run=name,
            place=place,
            at=title_of(moment),
            epoch=standing.epoch,
            of=len(moment.standings),
            cells=tuple((_cell(standing, column), _shift(standing, column)) for column in columns),
        )
        for moment in moments
        for place, (name, standing) in enumerate(zip(comparison.names, moment.standings, strict=True))
    ]


def title_of(moment: Moment) -> str:
    """What a moment is called."""
    if moment.at not in (BEST, LAST):
        return f"epoch {moment.at}"
    epochs = [standing.epoch for standing in moment.standings]
    which = f"epoch {epochs[0]}" if len(set(epochs)) == 1 else f"epochs {', '.join(map(str, epochs))}"
    return f"{moment.at} ({which})"


def heading_of(comparison: Comparison, task: ComparedTask) -> str:
    """A task's name, for which runs it is in domain, and its number of questions."""
    inside = [name for name, fitted in zip(comparison.names, task.in_domain, strict=True) if fitted]
    words = task.task
    if len(inside) == len(comparison.names):
        words += " (in domain)"
    elif inside:
        words += f" (in domain for {', '.join(inside)})"
    words += f": {task.questions:,} question{'' if task.questions == 1 else 's'}"
    return words + (f", {task.labelled:,} with a known answer" if task.labelled != task.questions else "")


def against(comparison: Comparison) -> str:
    """The comparison in a line: which runs against which."""
    *before, last = comparison.names[1:]
    others = f"{', '.join(before)} and {last}" if before else last
    return f"{others} against {comparison.names[0]}"


def setting_in_words(setting: Setting) -> list[str]:
    """Its value in each run; a dash where it is not set, of a digest or a revision only the beginning."""
    long = setting.name in ("base_revision", "train_digest")
    return [in_words(value)[: 12 if long else None] for value in setting.values]


def _cell(standing: Standing, column: Compared) -> Cell:
    return Cell.of(standing.numbers[column.key])


def _shift(standing: Standing, column: Compared) -> Shift | None:
    if standing.difference is None or column.key not in standing.difference:
        return None
    return Shift.of(standing.difference[column.key], column.better)


def _signed(value: float, decimals: int) -> str:
    words = f"{value:+.{decimals}f}"
    if not float(words):
        return words.lstrip("+-")
    return words.replace("-", "−")
