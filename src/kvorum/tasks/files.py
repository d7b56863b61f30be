"""A user's own file of questions as a task: .jsonl, .csv or .parquet."""

import csv
import io
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kvorum.errors import KvorumError, nearest
from kvorum.tasks.parquet import read_parquet
from kvorum.tasks.question import Question, Task
from kvorum.tasks.rows import ACQUIRED, check_columns, choices_from_json, is_field, read_row

logger = logging.getLogger(__name__)

MOST_COLUMNS = 1000
LONGEST_LINE = 2**20
"""Characters in a line of JSONL or CSV."""


@dataclass(frozen=True, slots=True)
class PlacedRow:
    """A row of a file, or what is wrong with it."""

    place: str
    """"line 3" or "row 3"."""
    number: int
    row: dict[str, Any] | KvorumError
    lines: range
    """Lines of the file that it takes, from 0; of Parquet none."""


@dataclass(frozen=True, slots=True)
class PlacedQuestion:
    """The question in a row, or what is wrong with it."""

    placed: PlacedRow
    question: Question | KvorumError
    ambiguous: bool = False
    """Whether its answer is the text of one choice and the letter or index of another."""


def load_file(path: Path, *, skip_bad_rows: bool) -> Task:
    """The task in a file; it is named after the file and used whole, to fit on and to evaluate on.

    Each row has `question`, `choices` (a list; in CSV a JSON list, or columns choice_0, choice_1, ...), and where known
    `answer` (an index from 0, a letter, or the text of a choice), `id`, `subject`. A text that is both a choice and
    another's letter or index is read as the choice.

    Raises KvorumError, naming file, row and field, for what cannot be read and, unless they are to be skipped, for
    bad rows: empty or missing fields, fewer than two choices, equal choices, an answer that is none, an id used twice.
    """
    try:
        refuse_absent(path)
        questions, skipped = _read(path, skip_bad_rows=skip_bad_rows)
    except OSError as error:
        raise KvorumError(f"{path}: cannot be read: {error.strerror or error}") from error
    if not questions:
        found = f"every row is bad ({len(skipped)}), the first: {skipped[0]}" if skipped else "it is empty"
        raise KvorumError(f"{path} holds no questions: {found}")
    return Task(
        name=path.stem,
        train=questions,
        test=questions,
        train_split="all",
        test_split="all",
        source=path.name,
        skipped=skipped,
    )


def _read(path: Path, *, skip_bad_rows: bool) -> tuple[tuple[Question, ...], tuple[str, ...]]:
    """The questions in a file, and a message for each row skipped."""
    questions: list[Question] = []
    skipped: list[str] = []
    ambiguous: list[str] = []
    for one in placed_questions(READERS[path.suffix.lower()](path), path.stem):
        if isinstance(one.question, KvorumError):
            message = f"{path}, {one.placed.place}: {one.question}"
            if not skip_bad_rows:
                raise KvorumError(f"{message}\n(--skip-bad-rows leaves such rows out and tells of them)")
            skipped.append(message)
            continue
        questions.append(one.question)
        if one.ambiguous:
            ambiguous.append(one.placed.place)
    if ambiguous:
        logger.warning(
            "%s: answers that are the text of one choice and the letter or index of another: %d, the first in %s; "
            "they are read as the text",
            path,
            len(ambiguous),
            ambiguous[0],
        )
    return tuple(questions), tuple(skipped)


def placed_questions(rows: Iterable[PlacedRow], stem: str) -> Iterator[PlacedQuestion]:
    """The question in each row; one without an id gets the file's stem and its number."""
    places_of_ids: dict[str, str] = {}
    for placed in rows:
        try:
            if isinstance(placed.row, KvorumError):
                raise placed.row
            question, answer = read_row(placed.row, f"{stem}/{placed.number}")
            if question.id in places_of_ids:
                raise KvorumError(f"'id' is '{question.id}', as in {places_of_ids[question.id]} already")
        except KvorumError as error:
            yield PlacedQuestion(placed, error)
            continue
        places_of_ids[question.id] = placed.place
        yield PlacedQuestion(placed, question, answer is not None and answer.other is not None)


def refuse_absent(path: Path) -> None:
    """Raise KvorumError where there is no plain file at a path."""
    if path.is_dir():
        raise KvorumError(f"{path} is a folder, not a file of questions")
    if path.exists() and not path.is_file():
        raise KvorumError(f"{path} is no plain file")
    if not path.exists():
        folder = path.parent
        beside = [one.name for one in folder.iterdir() if one.suffix.lower() in READERS] if folder.is_dir() else []
        where = f" in {folder}" if folder.is_dir() else f", since there is no folder {folder}"
        raise KvorumError(f"there is no file '{path.name}'{where}{nearest(path.name, beside)}")


def _lines(file: io.TextIOBase, path: Path) -> Iterator[str]:
    """The lines of a file, none of them of any length."""
    number = 0
    while line := file.readline(LONGEST_LINE):
        number += 1
        if len(line) == LONGEST_LINE:
            raise KvorumError(f"{path}, line {number}: is longer than {LONGEST_LINE:,} characters")
        yield line


def jsonl_rows(file: io.BufferedIOBase, path: Path) -> Iterator[PlacedRow]:
    """The rows of a JSONL file that is open; errors name it by its path."""
    for number, line in enumerate(iter(lambda: file.readline(LONGEST_LINE), b""), start=1):
        if len(line) == LONGEST_LINE:
            raise KvorumError(
                f"{path}, line {number}: is longer than {LONGEST_LINE:,} bytes; each line is one question"
            )
        if line.strip():
            yield PlacedRow(f"line {number}", number, _jsonl_row(line.strip()), range(number - 1, number))


def _jsonl_row(line: bytes) -> dict[str, Any] | KvorumError:
    try:
        row = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        return KvorumError(f"not UTF-8 text (byte {error.start} of the line)")
    except json.JSONDecodeError as error:
        return KvorumError(f"not JSON: {error.msg} (column {error.colno}); each line is one JSON object")
    except (ValueError, RecursionError) as error:
        return KvorumError(f"not JSON that can be read: {error}")
    if not isinstance(row, dict):
        return KvorumError(f"{line.decode()[:40]} is no JSON object; each line is one, with its question")
    try:
        check_columns(list(row))
    except KvorumError as error:
        return error
    return row


def csv_rows(
    file: io.TextIOBase, path: Path, *, header: Callable[[list[str]], None] = lambda columns: None
) -> Iterator[PlacedRow]:
    """The rows of a CSV file that is open, its line endings untouched; errors name it by its path.

    `header` is given the names of the columns.
    """
    number = 0
    try:
        rows = csv.reader(_lines(file, path), strict=True)
        columns = [name.strip() for name in next(rows, [])]
        if not columns:
            return
        _check_header(path, columns)
        header(columns)
        begin = rows.line_num
        for cells in rows:
            lines, begin = range(begin, rows.line_num), rows.line_num
            if not any(cells):
                continue
            number += 1
            yield PlacedRow(f"row {number}", number, _csv_row(columns, cells), lines)
    except UnicodeDecodeError as error:
        raise KvorumError(f"{path}: not UTF-8 text, somewhere after row {number}; save it as CSV in UTF-8") from error
    except csv.Error as error:
        raise KvorumError(f"{path}: not valid CSV after row {number}: {error}") from error


def _csv_row(header: list[str], cells: list[str]) -> dict[str, Any] | KvorumError:
    if len(cells) != len(header):
        return KvorumError(f"{len(cells)} cells under {len(header)} columns; quote a cell that holds a comma")
    row: dict[str, Any] = dict(zip(header, cells, strict=True))
    if row.get("answer", "").strip() == "":
        row.pop("answer", None)
    if row.get("subject") == "":
        row.pop("subject")
    if "choices" in row:
        try:
            row["choices"] = choices_from_json(row["choices"])
        except KvorumError as error:
            return error
    return row


def _check_header(path: Path, header: list[str]) -> None:
    if len(header) > MOST_COLUMNS:
        raise KvorumError(f"{path}: there are {len(header):,} columns; at most {MOST_COLUMNS:,} are read")
    counts = Counter(header)
    twice = next((name for name in header if name and counts[name] > 1), None)
    if twice is not None:
        raise KvorumError(f"{path}: the column '{twice}' is there twice")
    if len(header) == 1 and any(mark in header[0] for mark in ";\t"):
        raise KvorumError(f"{path}: one column, called {header[0]!r}; cells must be set apart by commas")
    _check_table(path, header)


def _check_table(path: Path, columns: list[str]) -> None:
    try:
        check_columns(columns)
    except KvorumError as error:
        raise KvorumError(f"{path}, columns: {error}") from error


def _tell_ignored(path: Path, columns: list[str]) -> None:
    ignored = [column for column in columns if not is_field(column) and column not in ACQUIRED]
    if ignored:
        logger.info("%s: these columns are not used: %s", path, ", ".join(ignored))


def _read_jsonl(path: Path) -> Iterator[PlacedRow]:
    with path.open("rb") as file:
        yield from jsonl_rows(file, path)


def _read_csv(path: Path) -> Iterator[PlacedRow]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        yield from csv_rows(file, path, header=lambda columns: _tell_ignored(path, columns))


def _read_parquet(path: Path) -> Iterator[PlacedRow]:
    columns, rows = read_parquet(path, is_field)
    _check_table(path, columns)
    _tell_ignored(path, columns)
    for number, row in enumerate(rows, start=1):
        yield PlacedRow(f"row {number}", number, row, range(0))


READERS = {".jsonl": _read_jsonl, ".csv": _read_csv, ".parquet": _read_parquet}

SUFFIXES = tuple(READERS)
