"""A file of questions that is being labelled: every label is in it at once, and nothing else in it is touched."""

import shutil
import threading
from collections import Counter
from collections.abc import Hashable
from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout

from kvorum.errors import KvorumError
from kvorum.files import atomic
from kvorum.labelling.contents import Contents, parse_contents, read_raw
from kvorum.tasks import Question


class Changed(KvorumError):
    """Another program has changed the file, so that a label was not written."""


class LabelFile:
    """A .jsonl or .csv file of questions, open for labels.

    A question's place is its index among those that the file held when it was opened. A label is written as the text
    of the choice, flushed to the disk, before `label` returns; every other byte of the file stays as it is. What
    another program writes meanwhile is read before each label and never overwritten. May be used from several threads.

    Raises KvorumError, naming file, row and field, for what cannot be read and for bad rows, all of them at once; where
    another process has it open for labels; and OSError where the disk does not take a label.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        # A link stays one: what it leads to is replaced.
        self._target = self.path.resolve()
        self._lock = FileLock(self._target.with_name(f".{self._target.name[:200]}.lock"), timeout=0)
        self._working = threading.Lock()
        self._contents = parse_contents(self.path, read_raw(self.path))
        self._acquire()
        self.questions: tuple[Question, ...] = self._contents.questions
        """As they were when the file was opened; `answers` says which labels there are now."""
        self._rows: list[int | None] = list(range(len(self.questions)))
        """The row of each question in what was read last, None where it holds it no more."""
        self._answers = [question.answer for question in self.questions]
        self._unseen: set[int] = set()
        """Places whose answer another program has changed since they were shown."""

    def __enter__(self) -> "LabelFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let others label it."""
        self._lock.release()

    @property
    def answers(self) -> tuple[int | None, ...]:
        """The index of each question's answer, None where it has none."""
        return tuple(self._answers)

    @property
    def held(self) -> tuple[bool, ...]:
        """Whether the file still holds each question."""
        return tuple(row is not None for row in self._rows)

    @property
    def labelled(self) -> int:
        """How many questions have an answer."""
        return len(self._answers) - self._answers.count(None)

    @property
    def left(self) -> tuple[int, ...]:
        """The places of the questions that have none and that the file still holds."""
        states = enumerate(zip(self.held, self._answers, strict=True))
        return tuple(place for place, (held, answer) in states if held and answer is None)

    def refresh(self) -> tuple[int | None, ...]:
        """All answers, read again if another program has changed the file, to be shown to whoever labels.

        Raises `Changed` where the file can no longer be read, or has bad rows now.
        """
        with self._working:
            self._read_again()
            self._unseen.clear()
            return self.answers

    def label(self, place: int, answer: int | None) -> None:
        """Give a question its answer, the index of a choice, or take it away with None.

        Raises KvorumError for a place or an index that is none, and `Changed` where the file no longer holds the
        question, where another program has given it another answer since it was shown, and where it cannot be read.
        """
        with self._working:
            self._check(place, answer)
            self._read_again()
            row = self._rows[place]
            if row is None:
                raise Changed(
                    f"{self.path} was changed by another program, and no row holds this question as it was read; "
                    "nothing was written. Open the file again to label what it holds now"
                )
            now = self._answers[place]
            if place in self._unseen and now != answer:
                self._unseen.remove(place)
                raise Changed(
                    f"{self.path}, {self._contents.places[row]}: another program has "
                    f"{'taken the answer away' if now is None else 'given another answer'} meanwhile; nothing was "
                    "written. Choose again to put yours in its place"
                )
            self._write(self._contents.with_answer(row, answer))
            self._answers[place] = answer

    def _check(self, place: int, answer: int | None) -> None:
        if not 0 <= place < len(self.questions):
            raise KvorumError(f"there is no question {place}; there are {len(self.questions)}, counted from 0")
        choices = self.questions[place].choices
        if answer is not None and not 0 <= answer < len(choices):
            raise KvorumError(f"'answer' is {answer}, which is no index of {len(choices)} choices, counted from 0")

    def _acquire(self) -> None:
        try:
            self._lock.acquire()
        except Timeout:
            raise KvorumError(f"{self.path}: another kvorum label has it open; end that one first") from None
        except OSError as error:
            raise KvorumError(f"{self.path}: its folder cannot be written to ({error.strerror or error})") from error

    def _write(self, contents: Contents) -> None:
        with atomic(self._target) as beside:
            beside.write_bytes(contents.raw)
            shutil.copymode(self._target, beside)
        self._contents = contents

    def _read_again(self) -> None:
        try:
            raw = read_raw(self.path)
            if raw == self._contents.raw:
                return
            found = parse_contents(self.path, raw)
        except KvorumError as error:
            raise Changed(f"{error}\n(another program has changed the file; nothing was written)") from error
        rows = _rows_of(self.questions, found.questions)
        answers = [None if row is None else found.questions[row].answer for row in rows]
        self._unseen |= {place for place, answer in enumerate(answers) if answer != self._answers[place]}
        self._contents, self._rows, self._answers = found, rows, answers


def _rows_of(questions: tuple[Question, ...], found: tuple[Question, ...]) -> list[int | None]:
    """The index in `found` of each question: by its id and content, or by its content where that is there once."""
    by_all = {(one.id, _content(one)): row for row, one in enumerate(found)}
    by_content = {_content(one): row for row, one in enumerate(found)}
    before, after = Counter(map(_content, questions)), Counter(map(_content, found))
    rows: list[int | None] = []
    for one in questions:
        content = _content(one)
        row = by_all.get((one.id, content))
        if row is None and before[content] == after[content] == 1:
            row = by_content[content]
        rows.append(row)
    return rows


def _content(question: Question) -> Hashable:
    return question.question, question.choices
