"""The numbers of every task at every epoch, laid out in columns; for the page and for the terminal."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kvorum.report.evaluations import Evaluation, read_evaluations
from kvorum.run import Run


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """One number of a row."""

    key: str
    section: str
    """Key of the table it stands in: `scores`, `uncertainty` or `ranking`."""
    group: str
    """Heading that it shares with its neighbours."""
    name: str
    better: str = ""
    """`higher`, `lower` or empty where neither is better."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """A number with its 95% interval; None where it is not defined or has no interval."""

    value: float | None
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, interval: Mapping[str, Any]) -> "Cell":
        """A cell of an interval as `kvorum.uncertainty` gives it."""
        return cls(value=interval["value"], low=interval["low"], high=interval["high"])

    @property
    def text(self) -> str:
        """The number in as many digits as tell something; a dash where it is not defined."""
        return "–" if self.value is None else _digits(self.value)

    @property
    def interval(self) -> str:
        """`low–high`, or empty where there is no interval."""
        if self.low is None or self.high is None:
            return ""
        return f"{_digits(self.low, self.high)}–{_digits(self.high)}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A task at an epoch: a cell for every one of `COLUMNS`."""

    task: str
    epoch: int
    in_domain: bool
    fitted_on_itself: bool
    """Whether any of the questions is among those that the members were fitted on."""
    questions: int
    labelled: int
    members: int
    correct: int
    wrong: int
    cells: dict[str, Cell]


NOTHING = 1e-9
"""Below this a number is what rounding left of zero."""

SCORES = (
    ("accuracy", "accuracy", "higher"),
    ("nll", "NLL", "lower"),
    ("brier", "Brier", "lower"),
    ("ece", "ECE", "lower"),
    ("ece_mass", "ECE, equal mass", "lower"),
)
UNCERTAINTIES = (
    ("predictive_entropy", "predictive entropy"),
    ("expected_entropy", "expected entropy"),
    ("mutual_information", "mutual information"),
)
RANKINGS = (("predictive_entropy", "by entropy"), ("mutual_information", "by MI"))
OUTCOMES = (("correct", "right"), ("wrong", "wrong"))

COLUMNS = (
    *(
        Column(key=f"{key}.{who}", section="scores", group=name, name=word, better=better)
        for key, name, better in SCORES
        for who, word in (("ensemble", "ensemble"), ("members", "members"))
    ),
    *(
        Column(key=f"{key}.{outcome}.{kind}", section="uncertainty", group=name, name=f"{word}, {kind}")
        for key, name in UNCERTAINTIES
        for outcome, word in OUTCOMES
        for kind in ("mean", "median")
    ),
    *(
        Column(key=f"wrong_auroc.{key}", section="ranking", group="AUROC, wrong answers", name=name, better="higher")
        for key, name in RANKINGS
    ),
    *(
        Column(key=f"separation.{key}", section="ranking", group="AUROC, other task", name=name, better="higher")
        for key, name in RANKINGS
    ),
)


def numbers_table(run: Run) -> list[Row]:
    """Every number of every task and epoch: the task fitted on first, each task by rising epoch."""
    return table_of(read_evaluations(run))


def table_of(evaluations: Sequence[Evaluation]) -> list[Row]:
    """`numbers_table` of what has been read already."""
    return [_row(evaluation) for evaluation in evaluations]


def columns_of(section: str) -> tuple[Column, ...]:
    """The columns of one of the page's tables."""
    return tuple(column for column in COLUMNS if column.section == section)


def groups_of(columns: Iterable[Column]) -> list[tuple[str, int]]:
    """The headings over the columns, and how many columns each spans."""
    spans: dict[str, int] = {}
    for column in columns:
        spans[column.group] = spans.get(column.group, 0) + 1
    return list(spans.items())


def _row(evaluation: Evaluation) -> Row:
    numbers = evaluation.numbers
    cells = {f"{key}.ensemble": Cell.of(numbers["ensemble"][key]) for key, _, _ in SCORES}
    cells |= {f"{key}.members": Cell.of(numbers["member_average"][key]) for key, _, _ in SCORES}
    for key, _ in UNCERTAINTIES:
        for outcome, _ in OUTCOMES:
            of = numbers[key][outcome]
            cells[f"{key}.{outcome}.mean"] = Cell.of(of["mean"])
            cells[f"{key}.{outcome}.median"] = Cell(value=of["median"])
    apart = evaluation.separation
    for key, _ in RANKINGS:
        cells[f"wrong_auroc.{key}"] = Cell.of(numbers["wrong_auroc"][key])
        cells[f"separation.{key}"] = Cell.of(apart[key]) if apart else Cell(value=None)
    return Row(
        task=evaluation.task,
        epoch=evaluation.epoch,
        in_domain=evaluation.in_domain,
        fitted_on_itself=evaluation.fitted_on > 0,
        questions=numbers["questions"],
        labelled=numbers["labelled"],
        members=numbers["members"],
        correct=numbers["predictive_entropy"]["correct"]["questions"],
        wrong=numbers["predictive_entropy"]["wrong"]["questions"],
        cells=cells,
    )


def _digits(value: float, like: float | None = None) -> str:
    """Three decimals; four below 0.1, where mutual information lives. As many as `like` has, if it is given."""
    if abs(value) < NOTHING:
        return "0.000"
    if abs(value if like is None else like) >= 0.0995:
        return f"{value:.3f}"
    return "<0.0001" if 0 < value < 0.00005 else f"{value:.4f}"
