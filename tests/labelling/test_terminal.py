"""The command in a real terminal: what keys do, what is shown, and what comes of it."""

import json
import os
import signal
import subprocess
import termios
from pathlib import Path

import pytest

from kvorum.labelling.keys import Key, read_key
from tests.labelling.conftest import answers, rows, write_jsonl
from tests.labelling.terminals import COMMAND, Terminal

LEFT, RIGHT, DELETE, ESCAPE, BACKSPACE = "\x1b[D", "\x1b[C", "\x1b[3~", "\x1b", "\x7f"
OPEN = "a-c choose · space skip · ← back · Esc leave"
GIVEN = "a-c change · - clear · space on · ← back · Esc leave"


def test_keys_choose_skip_go_back_and_leave_and_the_next_time_goes_on(file: Path) -> None:
    terminal = Terminal("label", str(file))
    shown = terminal.until(OPEN)
    assert "1 of 5 · 5 left · numbers" in shown and "Which is 0?" in shown and "\n  b   1\n" in shown
    assert "0.25" not in shown and "1.5" not in shown, "what a model thinks of it sways nobody"

    shown = terminal.press("b", OPEN)
    assert "✓ b  1" in shown and "2 of 5 · 4 left" in shown
    assert answers(file) == ["1", None, None, None, None], "before anything else is done"

    assert "skipped" in (shown := terminal.press(" ", OPEN)) and "3 of 5 · 4 left" in shown
    assert "4 of 5" in terminal.press(RIGHT, OPEN)
    assert "of 5" not in terminal.press("z", OPEN), "a key that means nothing says what there is"
    assert "of 5" not in terminal.press("ab", OPEN), "nor does what is pasted"
    assert answers(file) == ["1", None, None, None, None]

    assert "3 of 5" in terminal.press(LEFT, OPEN)
    assert "2 of 5" in terminal.press(BACKSPACE, OPEN)
    shown = terminal.press(LEFT, GIVEN)
    assert "1 of 5" in shown and "\n  b ✓ 1\n" in shown
    assert "this is the first question" in terminal.press(LEFT, "first question")
    assert "✓ c  none" in (shown := terminal.press("C", OPEN)) and "2 of 5" in shown
    assert answers(file)[0] == "none"

    said = terminal.end(ESCAPE)
    assert terminal.status == 0
    assert "1 labelled now, 1 of 5 in all" in said
    assert f"4 left: kvorum label {file} goes on there" in "".join(said.splitlines())

    terminal = Terminal("label", str(file))
    assert "2 of 5 · 4 left" in terminal.until(OPEN), "at the first that has none"
    for place in range(2, 5):
        assert f"{place + 1} of 5" in terminal.press("a", OPEN)
    said = terminal.end("a")
    assert answers(file) == ["none", "1", "2", "3", "4"]
    assert "4 labelled now, 5 of 5 in all" in said
    assert f"next: kvorum fit --model M --task {file}" in "".join(said.splitlines())

    terminal = Terminal("label", str(file))
    assert "nothing is left to label" in terminal.end() and terminal.status == 0


def test_a_label_can_be_cleared_and_what_was_skipped_comes_again(file: Path) -> None:
    made = rows(3)
    made[0]["answer"] = "0"
    write_jsonl(file, made)
    terminal = Terminal("label", str(file))
    assert "2 of 3 · 2 left" in terminal.until(OPEN)
    terminal.press(LEFT, GIVEN)
    for keys in (DELETE, "-"):
        assert "cleared" in terminal.press(keys, OPEN)
        assert answers(file) == [None, None, None]
        terminal.press("b", OPEN)
        assert answers(file)[0] == "1"
        terminal.press(LEFT, GIVEN)
    assert "2 of 3" in terminal.press(RIGHT, OPEN), "past what has a label without a change"
    terminal.press(" ", OPEN)
    shown = terminal.press(" ", OPEN)
    assert "That was the last one. 2 left" in shown and "2 of 3" in shown
    terminal.end(ESCAPE)
    assert answers(file) == ["1", None, None]


@pytest.mark.parametrize("keys", ["\x03", "\x04"])
def test_control_c_and_control_d_leave_too(file: Path, keys: str) -> None:
    terminal = Terminal("label", str(file))
    terminal.until(OPEN)
    terminal.press("a", OPEN)
    assert "1 labelled now" in terminal.end(keys)
    assert terminal.status == 0 and answers(file)[0] == "0"


def test_labels_of_another_program_are_not_counted_as_given_here(file: Path) -> None:
    terminal = Terminal("label", str(file))
    terminal.until(OPEN)
    made = rows(5)
    for place in range(2, 5):
        made[place]["answer"] = "none"
    write_jsonl(file, made)
    terminal.press("a", OPEN)
    assert "1 labelled now, 4 of 5 in all" in terminal.end(ESCAPE)


def test_killed_with_its_window_it_has_lost_nothing(file: Path) -> None:
    terminal = Terminal("label", str(file))
    terminal.until(OPEN)
    terminal.press("a", OPEN)
    os.kill(terminal.child, signal.SIGKILL)
    terminal.end()
    assert terminal.status == -signal.SIGKILL and answers(file) == ["0", None, None, None, None]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_ended_by_a_signal_it_gives_the_terminal_back_as_it_was(file: Path, number: signal.Signals) -> None:
    terminal = Terminal("label", str(file))
    terminal.until(OPEN)
    terminal.press("a", OPEN)
    os.kill(terminal.child, number)
    said = terminal.end()
    wanted = termios.ICANON | termios.ECHO | termios.ISIG
    assert terminal.flags & wanted == wanted
    assert terminal.status == 128 + number and answers(file)[0] == "0"
    assert f"ended by {number.name}; the same command goes on from there" in said


def test_a_window_that_is_closed_ends_it(file: Path) -> None:
    terminal = Terminal("label", str(file))
    terminal.until(OPEN)
    terminal.press("a", OPEN)
    os.close(terminal.handle)
    assert os.waitstatus_to_exitcode(os.waitpid(terminal.child, 0)[1]) != 0
    assert answers(file)[0] == "0"


def test_what_the_file_holds_does_not_steer_the_terminal(file: Path) -> None:
    hostile = {
        "question": "[bold red]not bold[/] [link=http://x]y[/]\x1b[2J\x1b]0;title\x07 \u202eback \x9b31m",
        "choices": ["[/nonsense]", "\x1b[31mred\r\x08", ":smile: {x}"],
        "subject": "\x1b[5m[blink]",
    }
    write_jsonl(file, [hostile])
    terminal = Terminal("label", str(file))
    shown = terminal.until(OPEN)
    for text in ("[bold red]not bold[/] [link=http://x]y[/]", "[/nonsense]", ":smile: {x}", "[blink]"):
        assert text in shown
    for control in (b"\x1b[2J", b"\x1b]", b"\x07", b"\x1b[31mred", b"\x1b[5m", "\u202e".encode(), "\x9b".encode()):
        assert control not in terminal.raw
    assert "[/nonsense]" in terminal.end("a")


def test_long_texts_wrap_to_the_terminal_as_it_is_now(file: Path) -> None:
    words = " ".join(f"word{place}" for place in range(60))
    made = [{"question": words, "choices": [words, "x" * 150], "answer": None, "subject": words} for _ in range(2)]
    write_jsonl(file, made)
    terminal = Terminal("label", str(file), columns=50)
    shown = terminal.until("skip · ← back")
    assert max(map(len, shown.splitlines())) <= 50 and "word59" in shown
    assert all(line.startswith("      ") for line in shown.splitlines() if "xxx" in line and "b " not in line)
    terminal.resize(30)
    shown = terminal.press(" ", "leave")
    assert max(map(len, shown.splitlines())) <= 30
    terminal.end(ESCAPE)


def test_what_could_not_be_written_is_said_and_the_question_stays(file: Path) -> None:
    terminal = Terminal("label", str(file), columns=100)
    terminal.until(OPEN)
    made = rows(5)
    made[0]["question"] = "Another?"
    write_jsonl(file, made)
    shown = terminal.press("a", "what it holds now")
    assert "Not saved" in shown and "of 5" not in shown
    assert answers(file)[0] is None
    assert "2 of 5" in terminal.press(" ", OPEN)
    terminal.press("a", OPEN)
    assert answers(file)[:2] == [None, "1"]
    terminal.end(ESCAPE)


def test_json_is_all_that_stdout_gets(file: Path) -> None:
    code = f"{COMMAND[0]} -c '{COMMAND[2]}' label {file} --json > {file.parent / 'out.json'}"
    terminal = Terminal(command=["/bin/sh", "-c", code])
    terminal.until(OPEN)
    terminal.press("a", OPEN)
    terminal.end(ESCAPE)
    found = json.loads((file.parent / "out.json").read_text())
    assert found == {"file": str(file), "labelled": 1, "left": 4}


def test_without_a_terminal_it_names_the_other_way(file: Path) -> None:
    done = subprocess.run([*COMMAND, "label", str(file)], input="aaa", capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "needs a terminal" in done.stderr and "--web" in done.stderr
    assert "Traceback" not in done.stderr and answers(file) == [None] * 5


def test_more_choices_than_letters_are_for_the_browser(file: Path) -> None:
    write_jsonl(file, [{"id": "many", "question": "?", "choices": [str(one) for one in range(27)]}])
    terminal = Terminal("label", str(file))
    said = " ".join(terminal.end().split())
    assert terminal.status == 2 and "'many' has 27 choices" in said and "--web" in said


def test_the_26th_choice_has_a_letter(file: Path) -> None:
    write_jsonl(file, [{"question": "?", "choices": [f"no. {one}" for one in range(26)], "answer": None}])
    terminal = Terminal("label", str(file), rows=60)
    terminal.until("a-z choose")
    terminal.end("z")
    assert answers(file) == ["no. 25"]


def test_a_second_one_on_the_same_file_is_told_so(file: Path) -> None:
    terminal = Terminal("label", str(file))
    terminal.until(OPEN)
    other = Terminal("label", str(file))
    assert "another kvorum label has it open" in " ".join(other.end().split()) and other.status == 2
    terminal.end(ESCAPE)


def test_keys_of_other_systems() -> None:
    sent = {"\xe0K": Key.BACK, "\x00M": Key.ON, "\xe0S": Key.CLEAR, "\x08": Key.BACK, "\x1bOD": Key.BACK, "Q": "q"}
    for pressed, meant in sent.items():
        assert read_key(lambda pressed=pressed: pressed) == meant
    for pressed in ("é", "1", "\x1b[A", "\xe0H", "aa", "\x1a", "ß"):
        assert read_key(lambda pressed=pressed: pressed) is Key.UNKNOWN
    assert read_key(lambda: "") is Key.LEAVE, "the terminal has gone"
