"""A disk that is full, may not be written to, or belongs to somebody else: a clear error, and nothing is lost."""

import errno
import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import kvorum
from tests.faults.conftest import TALLY, Fits
from tests.faults.test_interruptions import finish, readable, sampled


@pytest.mark.parametrize("what", ["ENOSPC", "EROFS", "EACCES", "EIO"])
def test_whatever_change_fails_the_error_names_the_file_and_going_on_works(fits: Fits, long: bool, what: str) -> None:
    refused = 0
    for at in sampled(fits.changes, 80 if long else 1 + (what == "ENOSPC"), seed=len(what)):
        run = fits.new()
        end = fits.run(run, fault={"at": at, "what": what})
        if end.status == 0:
            # The last of all: what follows from predictions need not be kept, and the lock's note need not be removed,
            # which a full disk lets be done in any case.
            assert "could not be kept" in end.said or "could not be removed" in end.said or what == "ENOSPC"
        else:
            refused += 1
            TALLY[f"disk refuses a change: {what}"] += 1
            words = os.strerror(getattr(errno, what))
            assert end.status in (1, 2) and words in end.said, end.said
            assert str(run) in end.said.splitlines()[-1]
        finish(fits, run)
    assert refused


class Tmpfs:
    """A small disk of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def mount(self, *options: str) -> bool:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", ",".join(options), "kvorum-faults", str(self.folder)],
            check=False,
            capture_output=True,
        )
        return done.returncode == 0

    def remount(self, *options: str) -> None:
        subprocess.run(["mount", "-o", ",".join(["remount", *options]), str(self.folder)], check=True)

    def unmount(self) -> None:
        subprocess.run(["umount", str(self.folder)], check=True)


@pytest.fixture
def tmpfs(fits: Fits) -> Iterator[Tmpfs]:
    folder = fits.new()
    folder.mkdir()
    disk = Tmpfs(folder)
    if not disk.mount("size=64k"):
        pytest.skip("no disk may be mounted here")
    yield disk
    disk.unmount()


def test_a_small_disk_fills_up_at_any_file_and_more_space_is_all_that_is_needed(
    fits: Fits, long: bool, tmpfs: Tmpfs
) -> None:
    draw = random.Random(7)
    full = 0
    for number in range(40 if long else 3):
        # From what holds no stack to what holds all but the last file.
        tmpfs.remount(f"size={draw.randint(8, 70) * 4}k")
        run = tmpfs.folder / f"run-{number}"
        end = fits.run(run)
        if end.status:
            full += 1
            TALLY["small disk filled up"] += 1
            assert end.status in (1, 2) and "No space left on device" in end.said, end.said
        readable(run)
        tmpfs.remount("size=64m")
        finish(fits, run)
        subprocess.run(["rm", "-r", str(run)], check=True)
    assert full


def test_a_disk_that_turns_read_only_loses_nothing_and_can_still_be_read(fits: Fits, tmpfs: Tmpfs) -> None:
    tmpfs.remount("size=64m")
    run = tmpfs.folder / "run"
    assert fits.run(run, settings={"epochs": 1}).status == 0
    tmpfs.remount("ro")
    end = fits.run(run)
    assert end.status == 2 and f"{run}: cannot be written to (Read-only file system)" in end.said
    readable(run)
    assert kvorum.Run.open(run).numbers(1, "mine")["ensemble"]
    end = fits.run(tmpfs.folder / "another")
    assert end.status == 2 and "cannot be a run directory (Read-only file system)" in end.said
    tmpfs.remount("rw")
    finish(fits, run)


def test_without_permission_it_says_so_and_writes_nothing(fits: Fits) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can become another user")
    nobody = 65534
    run = fits.copy(fits.whole)
    for file in [run, *run.rglob("*")]:
        file.chmod(0o755 if file.is_dir() else 0o644)
    before = {file: file.stat().st_mtime_ns for file in run.rglob("*")}
    end = fits.run(run, user=nobody, settings={"epochs": 3})
    assert end.status == 2 and "(Permission denied)" in end.said and str(run) in end.said
    end = fits.run(fits.new(), user=nobody)
    assert end.status == 2 and "cannot be a run directory (Permission denied)" in end.said
    assert {file: file.stat().st_mtime_ns for file in run.rglob("*")} == before
    (run / "config.yaml").chmod(0o600)
    end = fits.run(run, user=nobody)
    assert end.status == 2 and "Permission denied" in end.said
