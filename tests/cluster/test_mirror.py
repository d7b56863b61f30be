"""Whatever fails on the way, a copy of a run directory is whole: at the point before, or at the one after."""

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kvorum.cluster.fit import parts_of
from kvorum.cluster.groups import grouped
from kvorum.cluster.mirror import Mirror
from kvorum.cluster.part import Bases, Part, fit_part
from kvorum.cluster.refusals import TakenOver
from kvorum.cluster.storage import Storage
from kvorum.cluster.whole import Whole
from kvorum.config import FitConfig
from kvorum.errors import KvorumError
from kvorum.posterior.progress import Silent
from kvorum.posterior.stop import StopRequest
from kvorum.run import Point, Run, start_run
from tests.cluster.fits import asked, held


@dataclasses.dataclass
class Fault:
    """At which change on storage it fails, if at any; and before the change, or after it."""

    at: int | None = None
    after: bool = False
    seen: int = 0


@dataclasses.dataclass(frozen=True)
class Failing(Storage):
    """Storage that fails once and for all."""

    fault: Fault = dataclasses.field(default_factory=Fault)

    def write(self, name: str, content: bytes) -> None:
        self._around(lambda: Storage.write(self, name, content))

    def send(self, file: Path, name: str, size: int | None = None) -> None:
        self._around(lambda: Storage.send(self, file, name, size))

    def remove(self, name: str) -> None:
        self._around(lambda: Storage.remove(self, name))

    def _around(self, change: Callable[[], None]) -> None:
        self.fault.seen += 1
        if self.fault.at is not None and self.fault.seen >= self.fault.at:
            if self.fault.after and self.fault.seen == self.fault.at:
                change()
            raise OSError(5, "the storage is gone")
        change()


def save(run: Run, point: Point, dropped: Point | None = None) -> None:
    """Save what stands for a point, as a fit does."""
    files = run.files_of(point)[: 1 if point == (0, 0) else 2]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{file.name} at {point}")
    if point != (0, 0):
        with (run.path / "log.jsonl").open("a") as log:
            log.write(json.dumps({"epoch": point.epoch + bool(point.step), "step": point.step or 9}) + "\n")
        files = (*files, run.path / "log.jsonl")
    run.keep(*files, drop=run.files_of(dropped) if dropped else ())


POINTS = [(Point(0), None), (Point(0, 3), None), (Point(0, 6), Point(0, 3)), (Point(1), Point(0, 6))]
"""What is saved in turn, and what is let go of then."""
REACHED = [None, *(point for point, _ in POINTS)]


def steps(folder: Path, storage: Storage) -> Iterator[Mirror]:
    """A run that is saved again and again, and sent after each time."""
    mirror = Mirror(folder, storage)
    mirror.take_up()
    run = start_run(folder, FitConfig(model="m", task="t"), {"started": "now"})
    run.told = mirror.send
    mirror.send()
    yield mirror
    for point, dropped in POINTS:
        save(run, point, dropped)
        yield mirror


def fetched(storage: Storage, folder: Path) -> Run | None:
    """What another machine finds there."""
    Mirror(folder, storage).fetch()
    if not (folder / "manifest.json").is_file():
        return None
    run = Run.open(folder)
    assert run.damage() == []
    return run


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("kind", ["path", "memory"])
def test_wherever_the_storage_fails_the_copy_is_at_the_old_point_or_the_new(
    kind: str, after: bool, tmp_path: Path
) -> None:
    changes, at = 10**6, 0
    while (at := at + 1) <= changes:
        url = str(tmp_path / f"copy-{at}") if kind == "path" else f"memory://mirror-{after}/{at}"
        there = Failing(url, fault=Fault(at, after))
        reached = -1
        try:
            for _ in steps(tmp_path / f"run-{at}", there):
                reached += 1
        except OSError as error:
            assert "the storage is gone" in str(error)
        else:
            changes = there.fault.seen
            continue
        found = fetched(Storage(url), tmp_path / f"found-{at}")
        if found is None:
            assert reached == -1, "the first point that was sent is lost"
        else:
            point = found.points[-1] if found.points else None
            assert point in (REACHED[max(0, reached)], REACHED[min(reached + 1, len(REACHED) - 1)]), (at, reached)
    assert changes > 12


def test_a_copy_holds_what_its_manifest_lists_and_nothing_else(tmp_path: Path) -> None:
    there = Storage(str(tmp_path / "copy"))
    for mirror in steps(tmp_path / "run", there):
        assert set(there.names()) == {*mirror.there.files, "manifest.json", "owner"}


def test_of_a_log_the_bytes_that_count_are_sent(tmp_path: Path) -> None:
    there = Storage(str(tmp_path / "copy"))
    *_, mirror = steps(tmp_path / "run", there)
    before = there.read("log.jsonl")
    with (tmp_path / "run" / "log.jsonl").open("a") as log:
        log.write('{"epoch": 2, "step": 0}\n')
    mirror.there.files.pop("log.jsonl")
    mirror.send()
    assert there.read("log.jsonl") == before


def test_who_is_taken_over_may_write_no_more(tmp_path: Path) -> None:
    there = Storage(str(tmp_path / "copy"))
    old = steps(tmp_path / "run", there)
    for _ in range(3):
        next(old)
    new = Mirror(tmp_path / "other", there)
    new.take_up()
    listed = there.read("manifest.json")
    with pytest.raises(TakenOver, match="another worker goes on with this"):
        next(old)
    assert there.read("manifest.json") == listed
    found = fetched(there, tmp_path / "found")
    assert found is not None and found.points[-1] == Point(0, 3)
    new.send()


@pytest.fixture
def part(tiny_model: str, few: str, tmp_path: Path) -> Part:
    """Two of four members, fitted."""
    whole = Whole(folder=tmp_path / "out", storage=Storage(str(tmp_path / "out")), mirror=None)
    spread = asked(tiny_model, few, tmp_path / "out")
    made = parts_of(spread, whole, grouped(spread.members, 2))["members 2-3"]
    fit_part(made, Bases(), Silent(), StopRequest())
    return made


def test_a_part_that_is_done_is_left_as_it_is(part: Part, tmp_path: Path) -> None:
    before = {name: part.storage.read(name) for name in part.storage.names() if name.startswith("epochs")}
    fit_part(part, Bases(), Silent(), StopRequest())
    assert before == {name: part.storage.read(name) for name in part.storage.names() if name.startswith("epochs")}


def test_what_is_damaged_on_the_storage_is_computed_again(part: Part, tmp_path: Path) -> None:
    assert part.storage.path is not None
    run = Run.open(part.storage.path)
    before = held(run)
    assert {"epochs/001/adapters.safetensors", "epochs/002/optimizer.safetensors", "log.jsonl"} <= before.keys()
    harmed = {**before, "config.yaml": b""}
    for place, name in enumerate(harmed):
        file = run.path / name
        if place % 2:
            file.unlink()
        else:
            file.write_bytes(b"?" + file.read_bytes()[1:])
        fit_part(part, Bases(), Silent(), StopRequest())
        again = Run.open(part.storage.path)
        assert again.damage() == [] and held(again) == before, name


def test_a_part_elsewhere_than_asked_for_is_refused(part: Part, tmp_path: Path) -> None:
    other = dataclasses.replace(part, mark="another")
    with pytest.raises(KvorumError, match=r"out is not the same folder here as where .*; put --out"):
        fit_part(other, Bases(), Silent(), StopRequest())


def test_who_is_taken_over_sends_no_log(tmp_path: Path) -> None:
    there = Storage(str(tmp_path / "copy"))
    old = steps(tmp_path / "run", there)
    for _ in range(3):
        next(old)
    Mirror(tmp_path / "other", there).take_up()
    log = there.read("log.jsonl")
    with pytest.raises(TakenOver):
        next(old)
    assert there.read("log.jsonl") == log


def test_who_is_taken_over_while_sending_removes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = Storage(str(tmp_path / "copy"))
    old = steps(tmp_path / "run", there)
    for _ in range(3):
        next(old)
    names = there.names()
    real = Storage.send

    def send(self: Storage, file: Path, name: str, size: int | None = None) -> None:
        real(self, file, name, size)
        if name == "manifest.json":
            self.write("owner", b"another")

    monkeypatch.setattr(Storage, "send", send)
    with pytest.raises(TakenOver):
        next(old)
    assert set(names) <= set(there.names())


def test_a_damaged_list_is_named_by_where_it_lies(tmp_path: Path) -> None:
    there = Storage(str(tmp_path / "copy"))
    for content in (b"{", b'{"format": "other"}'):
        there.write("manifest.json", content)
        with pytest.raises(KvorumError, match=rf"^{there}/manifest.json: is ") as refused:
            Mirror(tmp_path / "here", there).listed()
        assert "--repair" not in str(refused.value)
