"""A user's own file of questions as a task: .jsonl, .csv or .parquet."""

import csv
import json
import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, AnyStr

from kvorum.errors import KvorumError, nearest
from kvorum.tasks.parquet import read_parquet
from kvorum.tasks.question import Question, Task
from kvorum.tasks.rows import check_columns, choices_from_json, is_field, read_row

logger = logging.getLogger(__name__)

# A row, or what is wrong with it, under its place in the file ("line 3", "row 3").
PlacedRow = tuple[str, int, "dict[str, Any] | KvorumError"]


MOST_COLUMNS = 1000
LONGEST_LINE = 2**20
"""Characters in a line of JSONL or CSV."""


def load_file(path: Path, *, skip_bad_rows: bool) -> Task:
    """The task in a file; it is named after the file and used whole, to fit on and to evaluate on.

    Each row has `question`, `choices` (a list; in CSV a JSON list, or columns choice_0, choice_1, ...), and where known
    `answer` (an index from 0, a letter, or the text of a choice), `id`, `subject`. A text that is both a choice and
    another's letter or index is read as the choice.

    Raises KvorumError, naming file, row and field, for what cannot be read and, unless they are to be skipped, for
    bad rows: empty or missing fields, fewer than two choices, equal choices, an answer that is none, an id used twice.
    """
    try:
        _refuse_absent(path)
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
    places_of_ids: dict[str, str] = {}
    for place, number, row in READERS[path.suffix.lower()](path):
        try:
            if isinstance(row, KvorumError):
                raise row
            question, answer = read_row(row, f"{path.stem}/{number}")
            if question.id in places_of_ids:
                raise KvorumError(f"'id' is '{question.id}', as in {places_of_ids[question.id]} already")
        except KvorumError as error:
            message = f"{path}, {place}: {error}"
            if not skip_bad_rows:
                raise KvorumError(f"{message}\n(--skip-bad-rows leaves such rows out and tells of them)") from error
            skipped.append(message)
            continue
        places_of_ids[question.id] = place
        questions.append(question)
        if answer is not None and answer.other is not None:
            ambiguous.append(place)
    if ambiguous:
        logger.warning(
            "%s: answers that are the text of one choice and the letter or index of another: %d, the first in %s; "
            "they are read as the text",
            path,
            len(ambiguous),
            ambiguous[0],
        )
    return tuple(questions), tuple(skipped)


def _refuse_absent(path: Path) -> None:
    if path.is_dir():
        raise KvorumError(f"{path} is a folder, not a file of questions")
    if path.exists() and not path.is_file():
        raise KvorumError(f"{path} is no plain file")
    if not path.exists():
        folder = path.parent
        beside = [one.name for one in folder.iterdir() if one.suffix.lower() in READERS] if folder.is_dir() else []
        where = f" in {folder}" if folder.is_dir() else f", since there is no folder {folder}"
        raise KvorumError(f"there is no file '{path.name}'{where}{nearest(path.name, beside)}")


def _lines(file: IO[AnyStr], path: Path) -> Iterator[AnyStr]:
    """The lines of a file, none of them of any length."""
    number = 0
    while line := file.readline(LONGEST_LINE):
        number += 1
        if len(line) == LONGEST_LINE:
            raise KvorumError(f"{path}, line {number}: is longer than {LONGEST_LINE:,} characters")
        yield line


def _jsonl_rows(path: Path) -> Iterator[PlacedRow]:
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(LONGEST_LINE), b""), start=1):
            if len(line) == LONGEST_LINE:
                raise KvorumError(
                    f"{path}, line {number}: is longer than {LONGEST_LINE:,} bytes; each line is one question"
                )
            if not line.strip():
                continue
            yield f"line {number}", number, _jsonl_row(line.strip())


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


def _csv_rows(path: Path) -> Iterator[PlacedRow]:
    number = 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(_lines(file, path), strict=True)
            header = [name.strip() for name in next(rows, [])]
            if not header:
                return
            _check_header(path, header)
            for cells in rows:
                if not any(cells):
                    continue
                number += 1
                yield f"row {number}", number, _csv_row(header, cells)
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
    ignored = [column for column in columns if not is_field(column)]
    if ignored:
        logger.info("%s: these columns are not used: %s", path, ", ".join(ignored))


def _parquet_rows(path: Path) -> Iterator[PlacedRow]:
    columns, rows = read_parquet(path, is_field)
    _check_table(path, columns)
    for number, row in enumerate(rows, start=1):
        yield f"row {number}", number, row


READERS = {".jsonl": _jsonl_rows, ".csv": _csv_rows, ".parquet": _parquet_rows}

SUFFIXES = tuple(READERS)
