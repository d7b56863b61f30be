"""A file written beside its place: whole or not at all, and nothing left behind."""

import os
import stat
from pathlib import Path

import pytest

from kvorum.errors import KvorumError
from kvorum.files import atomic


def test_the_file_appears_whole_when_the_block_ends(tmp_path):
    target = tmp_path / "numbers.json"
    with atomic(target) as beside:
        beside.write_text("new")
        assert beside.parent == tmp_path
        assert not target.exists()
    assert target.read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


def test_what_was_there_is_replaced(tmp_path):
    target = tmp_path / "numbers.json"
    target.write_text("old and longer")
    with atomic(str(target)) as beside:
        beside.write_text("new")
    assert target.read_text() == "new"


@pytest.mark.parametrize("interruption", [ValueError("no"), KeyboardInterrupt()])
def test_after_a_failure_the_old_file_stays_and_nothing_else(tmp_path, interruption):
    target = tmp_path / "numbers.json"
    target.write_text("old")
    with pytest.raises(type(interruption)), atomic(target) as beside:
        beside.write_text("half")
        raise interruption
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_block_that_writes_nothing_is_a_failure_and_keeps_the_old_file(tmp_path):
    target = tmp_path / "numbers.json"
    target.write_text("old")
    with pytest.raises(FileNotFoundError), atomic(target):
        pass
    assert target.read_text() == "old"


def test_the_contents_reach_the_disk_before_the_name_and_the_name_before_the_end(tmp_path, monkeypatch):
    steps = []
    fsync, replace = os.fsync, os.replace

    def flushed(handle):
        steps.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        fsync(handle)

    def renamed(source, target):
        steps.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(os, "replace", renamed)
    with atomic(tmp_path / "a") as beside:
        beside.write_text("x")
    assert steps == ["file", "rename", "folder"]


def test_two_writers_of_one_file_do_not_meet(tmp_path):
    with atomic(tmp_path / "a") as first, atomic(tmp_path / "a") as second:
        assert first != second
        first.write_text("1")
        second.write_text("2")
    assert (tmp_path / "a").read_text() == "1"


def test_the_file_can_be_read_by_whom_other_new_files_can_be(tmp_path):
    plain = tmp_path / "plain"
    plain.write_text("x")
    with atomic(tmp_path / "a") as beside:
        beside.write_text("x")
    assert (tmp_path / "a").stat().st_mode == plain.stat().st_mode


@pytest.mark.parametrize("name", ["ответы на вопросы.parquet", "é" * 120 + ".json", "n" * 255])
def test_any_name_a_file_may_have_is_possible(tmp_path, name):
    with atomic(tmp_path / name) as beside:
        beside.write_text("x")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_what_an_earlier_crash_left_is_not_taken_for_a_result(tmp_path):
    with atomic(tmp_path / "a.parquet") as beside:
        beside.write_text("x")
        assert list(tmp_path.glob("*.parquet")) == []


def test_a_missing_folder_is_named(tmp_path):
    with (
        pytest.raises(KvorumError, match=r"runs/x\.json: the folder .*runs does not exist"),
        atomic(tmp_path / "runs" / "x.json"),
    ):
        pass


def test_a_folder_in_the_way_is_named(tmp_path: Path):
    with pytest.raises(KvorumError, match="is a folder"), atomic(tmp_path):
        pass
