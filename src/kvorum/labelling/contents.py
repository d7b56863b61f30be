"""The bytes of a file of questions, and where in them each question's row lies."""

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from pathlib import Path

from kvorum.bounded import read_bounded
from kvorum.errors import KvorumError
from kvorum.labelling.splice import csv_with_answer, csv_with_cell_after, json_with_answer
from kvorum.tasks import Question
from kvorum.tasks.files import PlacedRow, csv_rows, jsonl_rows, placed_questions, refuse_absent

LARGEST = 2**28
"""Bytes of a file: it is read and written whole at every label."""
SHOWN = 20
"""Bad rows that are named one by one."""
BOM = b"\xef\xbb\xbf"

Span = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Contents:
    """A file's bytes, its questions, and which bytes are the row of each."""

    path: Path
    """By which errors name it."""
    raw: bytes
    questions: tuple[Question, ...]
    places: tuple[str, ...]
    """"line 3" or "row 3" of each question."""
    spans: tuple[Span, ...]
    named: tuple[bool, ...]
    """Whether the row itself holds an id; without, a question's is made of its row's number."""

    @classmethod
    def parsed(cls, path: Path, raw: bytes) -> "Contents":
        """The contents of a file whose bytes these are.

        Raises KvorumError, naming file, row and field, for bad rows, all of them at once.
        """
        lines, rows = cls._lines_and_rows(path, raw)
        offsets = list(accumulate(map(len, lines), initial=0))
        found: list[tuple[Question, str, Span, bool]] = []
        bad: list[str] = []
        for one in placed_questions(rows, path.stem):
            placed = one.placed
            if isinstance(one.question, KvorumError):
                bad.append(f"{placed.place}: {one.question}")
            else:
                span = offsets[placed.lines.start], offsets[placed.lines.stop]
                named = isinstance(placed.row, dict) and str(placed.row.get("id")) == one.question.id
                found.append((one.question, placed.place, span, named))
        _refuse_bad(path, bad)
        if not found:
            raise KvorumError(f"{path} holds no questions: it is empty")
        questions, places, spans, named = zip(*found, strict=True)
        return cls(path=path, raw=raw, questions=questions, places=places, spans=spans, named=named)

    def with_answer(self, row: int, answer: int | None) -> "Contents":
        """The same with another answer of one question, by its index in `questions`; all other bytes are the same."""
        begin, end = self.spans[row]
        question = self.questions[row]
        text = None if answer is None else question.choices[answer]
        record = self._record_with(self.raw[begin:end].decode("utf-8"), text).encode("utf-8")
        more = len(record) - (end - begin)
        return replace(
            self,
            raw=self.raw[:begin] + record + self.raw[end:],
            questions=(*self.questions[:row], replace(question, answer=answer), *self.questions[row + 1 :]),
            spans=(
                *self.spans[:row],
                (begin, end + more),
                *((one + more, other + more) for one, other in self.spans[row + 1 :]),
            ),
        )

    @classmethod
    def _lines_and_rows(cls, path: Path, raw: bytes) -> tuple[list[bytes], Iterable[PlacedRow]]:
        """The lines of a file, which are all of its bytes, and the rows in them."""
        raise NotImplementedError

    def _record_with(self, record: str, answer: str | None) -> str:
        raise NotImplementedError


class JsonlContents(Contents):
    """JSONL: a row is a line."""

    @classmethod
    def _lines_and_rows(cls, path: Path, raw: bytes) -> tuple[list[bytes], Iterable[PlacedRow]]:
        return io.BytesIO(raw).readlines(), jsonl_rows(io.BytesIO(raw), path)

    def _record_with(self, record: str, answer: str | None) -> str:
        return json_with_answer(record, answer)


class CsvContents(Contents):
    """CSV: a row may be several lines, and there may be no column yet for answers."""

    @classmethod
    def _lines_and_rows(cls, path: Path, raw: bytes) -> tuple[list[bytes], Iterable[PlacedRow]]:
        # First, since errors of its decoding name the row.
        rows = list(csv_rows(io.TextIOWrapper(io.BytesIO(raw), encoding="utf-8-sig", newline=""), path))
        lines = [line.encode("utf-8") for line in _text_lines(raw)]
        if lines and raw.startswith(BOM):
            lines[0] = BOM + lines[0]
        return lines, rows

    def _record_with(self, record: str, answer: str | None) -> str:
        return csv_with_answer(record, _columns(self.raw).index("answer"), answer)

    def with_answer(self, row: int, answer: int | None) -> "Contents":
        """The same with another answer of one question; where there is no column for answers, it is the last then."""
        if "answer" in _columns(self.raw):
            return super().with_answer(row, answer)
        widened = b"".join(_widened(self.raw))
        return type(self).parsed(self.path, widened).with_answer(row, answer)


def read_raw(path: Path, target: Path) -> bytes:
    """The bytes of a file, which errors name by a path that leads to it.

    Raises KvorumError where it cannot be read, or cannot be labelled by its kind.
    """
    _kind(path)
    try:
        refuse_absent(path)
        return read_bounded(target, LARGEST)
    except OSError as error:
        raise KvorumError(f"{path}: cannot be read: {error.strerror or error}") from error


def parse_contents(path: Path, raw: bytes) -> Contents:
    """A file's bytes as questions; raises KvorumError for bad rows, all of them at once."""
    return _kind(path).parsed(path, raw)


def _kind(path: Path) -> type[Contents]:
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        raise KvorumError(
            f"{path}: a Parquet file cannot be changed row by row; write it as .jsonl or .csv first "
            "(pandas: read_parquet, then to_json with orient='records', lines=True), and label that"
        )
    kinds = {".jsonl": JsonlContents, ".csv": CsvContents}
    if suffix not in kinds:
        raise KvorumError(f"'{path}': a file of questions to label ends in {' or '.join(kinds)}")
    return kinds[suffix]


def _refuse_bad(path: Path, bad: list[str]) -> None:
    if len(bad) == 1:
        raise KvorumError(f"{path}, {bad[0]}")
    if bad:
        more = [f"and {len(bad) - SHOWN} more"] if len(bad) > SHOWN else []
        raise KvorumError("\n".join([f"{path}: {len(bad)} rows are bad", *bad[:SHOWN], *more]))


def _text_lines(raw: bytes) -> list[str]:
    return io.StringIO(raw.decode("utf-8-sig"), newline="").readlines()


def _columns(raw: bytes) -> list[str]:
    head = io.TextIOWrapper(io.BytesIO(raw), encoding="utf-8-sig", newline="")
    return [name.strip() for name in next(csv.reader(head, strict=True), [])]


def _widened(raw: bytes) -> Iterator[bytes]:
    """A CSV file's records with an empty cell more, which the header calls `answer`."""
    lines = _text_lines(raw)
    reader = csv.reader(lines, strict=True)
    ends = [(any(cells), reader.line_num) for cells in reader]
    if raw.startswith(BOM):
        yield BOM
    for number, ((_, begin), (used, end)) in enumerate(pairwise([(False, 0), *ends])):
        record = "".join(lines[begin:end])
        yield (csv_with_cell_after(record, "" if number else "answer") if used else record).encode("utf-8")
