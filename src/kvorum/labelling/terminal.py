"""Labelling in a terminal: one question at a time, key by key."""

import sys
from collections.abc import Callable
from dataclasses import dataclass

from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from kvorum.errors import KvorumError
from kvorum.labelling.file import LabelFile
from kvorum.labelling.keys import Key, read_key, unechoed
from kvorum.labelling.leaving import left_by_signals
from kvorum.tasks import LETTERS, Question
from kvorum.terminal_safe import PlainConsole

WIDEST = 100
"""Columns of text: longer lines are hard to read."""


def label_in_terminal(file: LabelFile, console: PlainConsole, key: Callable[[], str | Key] = read_key) -> None:
    """Ask for one label after the other, from the first question that has none, until none is left or one leaves.

    Raises KvorumError where keys cannot be read one by one, and for a question of more choices than there are letters;
    and `Ended` when a signal has ended it.
    """
    _refuse_what_has_no_keys(file, console)
    with left_by_signals(), unechoed():
        _Session(file, console, key).run()


def _refuse_what_has_no_keys(file: LabelFile, console: PlainConsole) -> None:
    if not (sys.stdin.isatty() and console.is_terminal):
        raise KvorumError(
            "labels are given key by key, which needs a terminal, and here is none; --web labels in a browser"
        )
    for question, answer in zip(file.questions, file.answers, strict=True):
        if answer is None and len(question.choices) > len(LETTERS):
            raise KvorumError(
                f"{file.path}: the question '{question.id}' has {len(question.choices)} choices, more than there are "
                "letters; --web labels in a browser, with any number of choices"
            )


@dataclass
class _Session:
    """What has been gone through so far."""

    file: LabelFile
    console: PlainConsole
    key: Callable[[], str | Key]

    def run(self) -> None:
        """Until there is nothing left, or one leaves."""
        try:
            place = self._next_left(-1)
            while place is not None:
                place = self._ask(place)
        except KeyboardInterrupt:
            # Pressed while a label was written: the file is whole either way, and leaving is what was meant.
            self._say("left while a label was written; the next time shows whether it was", "dim")

    def _ask(self, place: int) -> int | None:
        """Show a question until a key leads on; the place of the next one, None to end."""
        self._refresh()
        answer = self.file.answers[place]
        self._show(place, answer)
        question = self.file.questions[place]
        while True:
            match self.key():
                case Key.LEAVE:
                    return None
                case Key.ON if answer is None:
                    self._say("skipped", "dim")
                    return self._next_left(place)
                case Key.ON:
                    return place + 1 if place + 1 < len(self.file.questions) else self._next_left(place)
                case Key.BACK if place == 0:
                    self._say("this is the first question", "dim")
                case Key.BACK:
                    return place - 1
                case Key.CLEAR if answer is not None:
                    if self._label(place, None):
                        self._say("cleared", "dim")
                        return place
                case str() as letter if (choice := ord(letter) - ord("a")) < len(question.choices):
                    if self._label(place, choice):
                        self._say(Text.assemble(f"✓ {letter}  ", question.choices[choice]), "green")
                        return self._next_left(place)
                case _:
                    self._say(_hint(question, answer), "yellow")

    def _next_left(self, place: int) -> int | None:
        """The next question without a label, from the beginning again where none comes after."""
        left = self.file.left
        after = [at for at in left if at > place]
        if left and not after:
            self._say(f"\nThat was the last one. {len(left)} left, from the first of them again.", "bold")
        return next(iter(after or left), None)

    def _refresh(self) -> None:
        try:
            self.file.refresh()
        except KvorumError as error:
            self._say(str(error), "red")

    def _label(self, place: int, answer: int | None) -> bool:
        """Whether the label is in the file; where not, why is said, and the question stays."""
        try:
            self.file.label(place, answer)
        except (KvorumError, OSError) as error:
            self._say(f"Not saved: {error}", "red")
            return False
        return True

    def _show(self, place: int, answer: int | None) -> None:
        question = self.file.questions[place]
        width = min(self.console.width, WIDEST)
        where = [f"{place + 1} of {len(self.file.questions)}", f"{len(self.file.left)} left"]
        title = Text(" · ".join([*where, question.subject] if question.subject else where))
        title.truncate(max(10, width - 8), overflow="ellipsis")
        choices = Table.grid(padding=(0, 1))
        choices.add_column(width=1, style="bold cyan")
        choices.add_column(width=1, style="green")
        choices.add_column(overflow="fold")
        for index, choice in enumerate(question.choices):
            ours = index == answer
            choices.add_row(
                LETTERS[index] if index < len(LETTERS) else "",
                "✓" if ours else "",
                Text(choice, style="green" if ours else "", overflow="fold"),
            )
        self.console.print()
        self.console.print(Rule(title, align="left", style="dim"), width=width)
        self.console.print()
        self.console.print(Text(question.question, style="bold", overflow="fold"), width=width)
        self.console.print()
        self.console.print(Padding(choices, (0, 0, 0, 2), expand=False), width=width)
        self.console.print()
        self._say(_hint(question, answer), "dim")

    def _say(self, words: str | Text, style: str = "") -> None:
        text = words if isinstance(words, Text) else Text(words)
        self.console.print(text, style=style or None, width=min(self.console.width, WIDEST), overflow="fold")


def _hint(question: Question, answer: int | None) -> str:
    last = LETTERS[min(len(question.choices), len(LETTERS)) - 1]
    if answer is None:
        return f"a-{last} choose · space skip · ← back · Esc leave"
    return f"a-{last} change · - clear · space on · ← back · Esc leave"
