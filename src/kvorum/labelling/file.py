"""A file of questions that is being labelled: every label is in it at once, and nothing else in it is touched."""

import hashlib
import os
import shutil
import threading
from contextlib import suppress
from pathlib import Path
from types import EllipsisType, TracebackType

from filelock import FileLock, Timeout

from kvorum.errors import KvorumError
from kvorum.files import atomic
from kvorum.labelling.contents import Contents, parse_contents, read_raw
from kvorum.labelling.matching import known, rows_of
from kvorum.tasks import Question

LONGEST_NAME = 255
"""Bytes of a file's name on the usual disks."""


class Changed(KvorumError):
    """Somebody else has changed the file, so that a label was not written."""


class LabelFile:
    """A .jsonl or .csv file of questions, open for labels.

    A question's place is its index among those that the file held when it was opened. A label is written as the text
    of the choice, flushed to the disk, before `label` returns; every other byte of the file stays as it is. What
    another program writes meanwhile is read before each label and never overwritten. May be used from several threads.

    Raises KvorumError, naming file, row and field, for what cannot be read and for bad rows, all of them at once; for
    a file that is read-only; where another process has it open for labels; and OSError where the disk does not take a
    label.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        # A link stays one: what it leads to is replaced.
        self._target = self._led_to()
        # Whichever thread opens it, any may close it.
        self._lock = FileLock(_lock_of(self._target), timeout=0, thread_local=False)
        self._working = threading.Lock()
        self._contents = parse_contents(self.path, read_raw(self.path, self._target))
        self._refuse_read_only()
        self._acquire()
        self.questions: tuple[Question, ...] = self._contents.questions
        """As they were when the file was opened; `answers` says which labels there are now."""
        self._known = known(self._contents)
        self._rows: list[int | None] = list(range(len(self.questions)))
        """The row of each question in what was read last, None where it holds it no more."""
        self._answers = [question.answer for question in self.questions]
        self._shown = list(self._answers)
        """The answers as they were told last."""
        self._given: dict[int, tuple[int | None, int | None]] = {}
        """What was in the place of each label before the first that was given here, and the last of those."""

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
    def target(self) -> Path:
        """The file itself, where `path` is a link."""
        return self._target

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
    def given(self) -> int:
        """How many questions have got an answer, or another one, here: not by other programs."""
        return sum(after is not None and after != before for before, after in self._given.values())

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
            self._shown = list(self._answers)
            return self.answers

    def label(self, place: int, answer: int | None, *, was: int | EllipsisType | None = ...) -> None:
        """Give a question its answer, the index of a choice, or take it away with None.

        `was` is the answer that whoever labels has seen there; left out, it is the one that `refresh`, `label` or
        `Changed` told of last, which is right where there is one who labels.

        Raises KvorumError for a place or an index that is none, and `Changed` where the file no longer holds the
        question, where it has another answer now than was seen, and where it cannot be read.
        """
        with self._working:
            self._check(place, answer)
            self._read_again()
            row = self._rows[place]
            if row is None:
                raise Changed(
                    f"{self.path} was changed by another program, and no row is certain to hold this question as it "
                    "was read; nothing was written. Open the file again to label what it holds now"
                )
            now = self._answers[place]
            seen = self._shown[place] if isinstance(was, EllipsisType) else was
            if now not in (seen, answer):
                self._shown[place] = now
                raise Changed(f"{self.path}, {self._contents.places[row]}: {self._meanwhile(place, now)}")
            self._write(self._contents.with_answer(row, answer))
            self._answers[place] = self._shown[place] = answer
            before, _ = self._given.get(place, (now, None))
            self._given[place] = before, answer

    def _check(self, place: int, answer: int | None) -> None:
        if not 0 <= place < len(self.questions):
            raise KvorumError(f"there is no question {place}; there are {len(self.questions)}, counted from 0")
        choices = self.questions[place].choices
        if answer is not None and not 0 <= answer < len(choices):
            raise KvorumError(f"'answer' is {answer}, which is no index of {len(choices)} choices, counted from 0")

    def _meanwhile(self, place: int, now: int | None) -> str:
        done = (
            "taken the answer away"
            if now is None
            else f"given another answer, '{self.questions[place].choices[now][:60]}',"
        )
        return f"somebody else has {done} meanwhile; nothing was written. Choose again to put yours in its place"

    def _led_to(self) -> Path:
        return Path(os.path.realpath(self.path))

    def _refuse_read_only(self) -> None:
        # It would be replaced all the same: that asks for rights on the folder alone.
        if not os.access(self._target, os.W_OK):
            raise KvorumError(f"{self.path}: it is read-only, or belongs to somebody else; labels are written into it")

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
            _keep_owner(self._target, beside)
            shutil.copymode(self._target, beside)
        self._contents = contents

    def _read_again(self) -> None:
        if self._led_to() != self._target:
            raise Changed(
                f"{self.path} leads to another file now than when it was opened; nothing was written. Open it again"
            )
        try:
            raw = read_raw(self.path, self._target)
            if raw == self._contents.raw:
                return
            found = parse_contents(self.path, raw)
        except KvorumError as error:
            raise Changed(f"{error}\n(another program has changed the file; nothing was written)") from error
        rows = rows_of(self._known, known(found))
        self._answers = [None if row is None else found.questions[row].answer for row in rows]
        self._contents, self._rows = found, rows


def _lock_of(target: Path) -> Path:
    name = os.fsencode(target.name)
    if len(name) > LONGEST_NAME - len("..lock"):
        # What is cut off tells names apart, too.
        name = name[:180] + b"." + hashlib.sha256(name).hexdigest()[:16].encode()
    return target.with_name(f".{name.decode('utf-8', 'ignore')}.lock")


def _keep_owner(target: Path, beside: Path) -> None:
    if not hasattr(os, "chown"):
        return
    had, has = target.stat(), beside.stat()
    if (had.st_uid, had.st_gid) != (has.st_uid, has.st_gid):
        # Only the administrator may give files away; a group one may if one is in it.
        with suppress(OSError):
            os.chown(beside, -1, had.st_gid)
        with suppress(OSError):
            os.chown(beside, had.st_uid, -1)
