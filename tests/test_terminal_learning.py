"""An experiment in active learning on a terminal: the page's numbers, in lines that fit."""

from pathlib import Path

import pytest
from rich.console import Console

from kvorum.report.learning.analyse import Learning, analyse
from kvorum.report.learning.numbers import interval, needed, number, shift, times
from kvorum.report.learning.verdicts import notes, verdicts
from kvorum.terminal_learning import learning_tables
from tests.report.learning.conftest import make, realistic


@pytest.fixture(scope="module")
def learning(tmp_path_factory: pytest.TempPathFactory) -> Learning:
    return analyse(realistic(tmp_path_factory.mktemp("terminal") / "experiment", test=["facts_capitals"]))


def printed(learning: Learning, width: int = 120) -> str:
    console = Console(width=width)
    with console.capture() as capture:
        for part in learning_tables(learning):
            console.print(part)
    return capture.get()


def test_every_function_has_its_line_its_difference_and_its_needs(learning):
    lines = printed(learning).splitlines()
    for function in learning.functions:
        first, second = (
            place for place, line in enumerate(lines) if line.startswith(f"{function.name} ") and "(" not in line
        )
        curve = function.curves[0]
        last = curve.points[-1]
        for words in (f"{function.labels}", number(last.accuracy.value), number(last.nll.value)):
            assert words in lines[first].split()
        assert interval(last.accuracy) in lines[first + 1]
        if curve.accuracy_area is not None:
            said = shift(curve.accuracy_area)
            assert f"{'*' if said.side else ''}{said.text}" in lines[first].split()
            assert said.interval in lines[first + 1]
        for need in function.needs:
            assert needed(need) in lines[second]
            if need.ratio is not None:
                assert f"{times(need.ratio.value)} ×" in "\n".join(lines[second : second + 5])


def test_verdicts_and_notes_are_said(learning):
    said = " ".join(printed(learning).split())
    for verdict in verdicts(learning):
        assert f"{verdict.function} ({verdict.standing})" in said
        for sentence in verdict.sentences:
            assert sentence in said
    for note in notes(learning):
        assert note in said


def test_without_random_there_is_no_column_for_it(tmp_path: Path):
    found = analyse(make(tmp_path / "a", lambda name, number, seed: 0.5 + 0.1 * number, acquisitions=["entropy"]))
    said = printed(found)
    assert "beside random" not in said
    assert "times" not in said
    assert "Random is not among the functions" in said


def test_a_mark_is_explained_where_there_can_be_one(learning, tmp_path):
    assert "* told from random: " in printed(learning)
    few = analyse(make(tmp_path / "a", lambda name, number, seed: 0.5 + 0.1 * number, seeds=[0, 1]))
    assert "*" not in printed(few)


def test_of_who_alone_reaches_an_accuracy_the_table_says_so(tmp_path: Path):
    rises, flat = [[0.5, 0.6, 0.7, 0.8]] * 3, [[0.5] * 4] * 3
    found = analyse(make(tmp_path / "a", {"random": rises, "mutual_information": flat}, targets=[0.7]))
    assert "random only: 3 of 3" in printed(found)
