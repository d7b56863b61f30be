"""Fits in processes of their own, which can be killed, stopped and told that the disk is full."""

import dataclasses
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import kvorum
from tests import tiny

ROOT = Path(__file__).parent.parent.parent
SETTINGS: dict[str, Any] = {
    "members": 2,
    "rank": 2,
    "epochs": 2,
    "batch_size": 4,
    "lr": 1e-2,
    "dropout": 0.1,
    "save_minutes": 0,
    "device": "cpu",
}


@dataclasses.dataclass(frozen=True)
class End:
    """How a process ended."""

    pid: int
    status: int
    """Its exit status; negative for the signal that killed it."""
    seconds: float
    said: str


class Fits:
    """Fits of a tiny model in child processes, each in a directory of its own or in one that is there."""

    def __init__(self, folder: Path, given: tuple[str, str] | None = None) -> None:
        self.folder = folder
        self.model, self.task = given or _model_and_task(folder)
        self.numbers = itertools.count()
        self.stopped: dict[int, Path] = {}
        """By epoch, a run that was killed within it."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.child"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        )
        assert self._answer() == "ready"
        self.whole = self.new()
        self.took = self.run(self.whole)
        assert self.took.status == 0, self.took.said
        self.expected = contents(self.whole)
        run, counted = self.new(), folder / "counted"
        assert self.run(run, fault={}, counted=str(counted)).status == 0 and contents(run) == self.expected
        self.changes = int(counted.read_text())
        """How often a whole fit changes something on the disk."""

    def _answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def new(self) -> Path:
        """A path for a run."""
        return self.folder / f"run-{next(self.numbers)}"

    def new_folder(self) -> Path:
        """A new folder."""
        folder = self.new()
        folder.mkdir()
        return folder

    def begin(self, out: Path, *, settings: dict[str, Any] | None = None, **request: Any) -> Path:
        """Start a fit; `end` waits for it."""
        said = self.folder / f"said-{next(self.numbers)}"
        asked = {"model": self.model, "task": self.task, "out": str(out), "settings": SETTINGS | (settings or {})}
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"said": str(said), **asked, **request}) + "\n")
        self.process.stdin.flush()
        return said

    def end(self, said: Path) -> End:
        """How the fit ended that was begun."""
        return End(**json.loads(self._answer()), said=said.read_text())

    def run(self, out: Path, **request: Any) -> End:
        """A fit, from its beginning to its end, whatever that is."""
        return self.end(self.begin(out, **request))

    def copy(self, run: Path) -> Path:
        """The same run elsewhere, to be damaged."""
        return Path(shutil.copytree(run, self.new(), symlinks=True))

    def close(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(timeout=60)
        self.process.stdout.close()


def _model_and_task(folder: Path) -> tuple[str, str]:
    model, task = tiny.save(folder / "model", positions=64), folder / "mine.jsonl"
    for file in model.iterdir():
        file.chmod(0o644)
    rows = [{"question": f"{i}?", "choices": [str(i), "no"], "answer": i % 2} for i in range(12)]
    task.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(model), str(task)


def contents(run: Path) -> dict[str, bytes]:
    """What must be the same in an interrupted run: adapters, optimizer, predictions with their numbers, and log."""
    return {
        str(file.relative_to(run)): file.read_bytes()
        for file in sorted(run.rglob("*"))
        if file.is_file() and file.name not in {"config.yaml", "manifest.json", "manifest.json.damaged", "lock"}
    }


def stopped_within(fits: Fits, epoch: int) -> Path:
    """A copy of a run that was killed within an epoch, with a point saved there."""
    if epoch not in fits.stopped:
        for at in range(int((0.35 if epoch == 1 else 0.75) * fits.changes), fits.changes):
            run = fits.new()
            assert fits.run(run, fault={"at": at}).status == -signal.SIGKILL
            points = kvorum.Run.open(run).points if (run / "config.yaml").is_file() else ()
            if points and points[-1].step and points[-1].epoch == epoch - 1:
                fits.stopped[epoch] = run
                break
        else:
            raise AssertionError(f"no kill fell into epoch {epoch}")
    return fits.copy(fits.stopped[epoch])


TALLY: Counter[str] = Counter()
"""What was tried, and how often: the figures of docs/reliability.md."""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if TALLY:
        terminalreporter.section("faults tried")
        for what, count in sorted(TALLY.items()):
            terminalreporter.line(f"{count:>8,}  {what}")


@pytest.fixture(scope="session")
def fits() -> Iterator[Fits]:
    # Not pytest's own folder: no other user may enter that, and one test goes on as another user.
    folder = Path(tempfile.mkdtemp(prefix="kvorum-faults-"))
    folder.chmod(0o755)
    made = Fits(folder)
    yield made
    made.close()
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def long(request: pytest.FixtureRequest) -> bool:
    """Whether all is tried that `make faults` tries, or what `make test` has time for."""
    return bool(request.config.getoption("--long"))
