"""An answer exchanged within the text of its row, and not a character beside it."""

import json
import re

BLANK = re.compile(r"[\ufeff\s]*")
CELL = re.compile(r'"[^"]*(?:""[^"]*)*"|[^,\r\n]*')
"""A cell of CSV as the csv module reads it by default: quoted whole, or up to the next comma."""
ENDING = re.compile(r"(\r\n|\r|\n)?\Z")


def json_with_answer(line: str, answer: str | None) -> str:
    """A line with one JSON object, with this `answer` in place of its own; it comes last where there was none."""
    written = json.dumps(answer, ensure_ascii=line.isascii())
    decoder = json.JSONDecoder()
    at = _past(line, 0) + 1  # past the brace
    last, found = at, None
    while line[at := _past(line, at)] != "}":
        if line[at] == ",":
            at = _past(line, at + 1)
        key, at = decoder.raw_decode(line, at)
        begin = _past(line, _past(line, at) + 1)  # past the colon
        _, at = decoder.raw_decode(line, begin)
        last = at
        if key == "answer":
            found = begin, at  # of several, the last is the one that is read
    if found is not None:
        return line[: found[0]] + written + line[found[1] :]
    return f'{line[:last]}, "answer": {written}{line[last:]}'


def csv_with_answer(record: str, column: int, answer: str | None) -> str:
    """A record with this answer in a column, counted from 0; quoted if what was there was."""
    at = 0
    for _ in range(column):
        at = _cell_end(record, at) + 1  # past the comma
    quoted = record.startswith('"', at)
    return record[:at] + _cell(answer or "", quoted=quoted) + record[_cell_end(record, at) :]


def csv_with_cell_after(record: str, cell: str) -> str:
    """A record with one more cell."""
    ending = ENDING.search(record)
    assert ending is not None, "it matches the empty end, too"
    return f"{record[: ending.start()]},{_cell(cell)}{ending[0]}"


def _past(text: str, at: int) -> int:
    """The place of the next character that is not blank."""
    blank = BLANK.match(text, at)
    assert blank is not None, "it matches nothing, too"
    return blank.end()


def _cell_end(record: str, at: int) -> int:
    cell = CELL.match(record, at)
    assert cell is not None, "it matches an empty cell, too"
    return cell.end()


def _cell(text: str, *, quoted: bool = False) -> str:
    if quoted or any(mark in text for mark in '",\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text
