"""The benchmark of memory: a row a side, each from a process that took more than the model that it holds."""

from pathlib import Path

import memory
import pytest
from tests import tiny
from torch import device


@pytest.mark.slow
def test_every_side_is_measured_in_a_process_of_its_own(tmp_path: Path) -> None:
    # Longer questions than the facts have would need a longer model than this one.
    model = tiny.save(tmp_path / "model", positions=1024)
    file = tmp_path / "rows.json"
    arguments = f"--model {model} --task facts_capitals --formats text --members 2 --repeats 1 --json {file}"
    sides = ["PEFT, as people run it"]
    ours, theirs = memory.main([*arguments.split(), "--sides", *sides])
    assert [ours["side"], theirs["side"]] == ["kvorum, M = 2", *sides]
    for row in (ours, theirs):
        (one,) = row["measured"]
        # The interpreter and its libraries alone are more.
        assert one["peak"] > one["base"] > 100 * memory.MIB
        assert row["above the base"] == pytest.approx((one["peak"] - one["base"]) / memory.MIB)
        assert row[f"over {sides[0]}"] == pytest.approx(one["peak"] / theirs["measured"][0]["peak"])
    assert 0 < ours["tokens a pass"] <= theirs["tokens a pass"]
    assert file.is_file()


def test_the_peak_is_counted_from_where_it_was_set_back() -> None:
    held = bytearray(b"1") * (256 * memory.MIB)
    before = memory.peak(device("cpu"))
    del held
    base, counted = memory.begin_peak(device("cpu"))
    if not counted:
        pytest.skip("the kernel lets no process set its peak back")
    assert memory.peak(device("cpu")) < before - 128 * memory.MIB
    held = bytearray(b"1") * (64 * memory.MIB)
    assert memory.peak(device("cpu")) >= base + 60 * memory.MIB
    del held
