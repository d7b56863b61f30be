from dataclasses import replace

import pytest
from rich.console import Console

from kvorum.report.comparison.compare import ComparedTask, Comparison, Moment, Side, Standing
from kvorum.report.comparison.settings import Setting
from kvorum.report.comparison.tables import COMPARED
from kvorum.terminal_comparison import comparison_tables
from kvorum.uncertainty import Interval

KEYS = [column.key for column in COMPARED]


def standing(epoch: int, value: float, difference: Interval | None) -> Standing:
    numbers = {key: Interval(value=value, low=value - 0.1, high=value + 0.1) for key in KEYS}
    shifts = None if difference is None else {key: difference for key in KEYS if key != "members_nll"}
    return Standing(epoch=epoch, members=5, numbers=numbers, difference=shifts)


@pytest.fixture
def comparison() -> Comparison:
    far, near = Interval(value=0.25, low=0.2, high=0.3), Interval(value=-0.01, low=-0.02, high=0.03)
    moments = tuple(
        Moment(at=at, standings=(standing(1, 0.5, None), standing(2, 0.75, difference)))
        for at, difference in (("1", far), ("best", far), ("last", near))
    )
    task = ComparedTask(task="few", in_domain=(True, False), questions=9, labelled=8, moments=moments, others=((), ()))
    return Comparison(
        runs=tuple(Side(name=name, path=name, members=5, best=1, last=2) for name in ("[red]a", "b")),
        members=None,
        settings=(Setting(name="train_digest", found=True, values=("0123456789abcdef", None)),),
        tasks=(task,),
        notes=("Something to know.",),
    )


def printed(comparison: Comparison) -> str:
    console = Console(width=120, soft_wrap=True)
    with console.capture() as capture:
        for table in comparison_tables(comparison):
            console.print(table)
    return capture.get()


def test_best_and_last_stand_with_their_differences(comparison):
    text = printed(comparison)
    assert "b against [red]a" in text
    assert "few (in domain for [red]a): 9 questions, 8 with a known answer" in text
    assert text.count("best (epochs 1, 2)") == text.count("last (epochs 1, 2)") == 1
    assert "epoch 1\n" not in text
    assert text.count("0.750 (*+0.250)") == 5
    assert text.count("+0.200 to +0.300") == 5
    assert text.count("0.750 (−0.0100)") == 5
    assert "0123456789ab " in text
    assert "note: Something to know." in text


def test_runs_of_the_same_settings(comparison):
    assert "No setting differs" in printed(replace(comparison, settings=()))
