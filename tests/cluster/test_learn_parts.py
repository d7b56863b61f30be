"""An experiment in parts, one after another in this process: as the plain loop, whatever is interrupted or damaged."""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

import kvorum
from kvorum import cli
from kvorum.active.config import learn_config
from kvorum.active.directory import facts_of
from kvorum.active.loop import learn
from kvorum.active.progress import Rounds, SilentRounds
from kvorum.active.records import Learned
from kvorum.cluster.dispatch import Dispatch, Ended, Work
from kvorum.cluster.learn import BASE, Place, ask, learn_in_parts
from kvorum.cluster.learn_part import Sent, learn_part
from kvorum.cluster.learn_rounds import ToldRounds
from kvorum.cluster.news import Teller
from kvorum.cluster.part import Bases
from kvorum.cluster.ray_cluster import Cluster
from kvorum.cluster.refusals import TakenOver
from kvorum.cluster.storage import Storage
from kvorum.cluster.view import View
from kvorum.posterior.stop import Stopped, StopRequest


@pytest.fixture
def settings(tiny_model: str, tmp_path: Path) -> dict[str, Any]:
    return {
        "out": str(tmp_path / "learn"),
        "settings": {"model": tiny_model, "epochs": 1, "lr": 1e-2, "rank": 2, "alpha": 4.0, "evaluate_limit": 8},
        "pool": [{"task": "facts_capitals", "limit": 25}],
        "test": ["facts_capitals"],
        "acquisitions": ["mutual_information", "k_centre"],
        "initial": 5,
        "batch": 4,
        "rounds": 2,
        "seeds": [0, 3],
        "members": 2,
    }


class Here:
    """A runner that does pieces one after another, and what comes after a failed one not at all."""

    def __init__(self, told: Rounds | None = None, facts: Mapping[str, str] | None = None) -> None:
        self.told = told or SilentRounds()
        self.facts = facts or {}
        self.done: list[str] = []

    def __call__(self, works: Mapping[str, Work], ended: Ended) -> dict[str, str]:
        bases, failed = Bases(), {}
        for name, work in works.items():
            if not failed.keys().isdisjoint(work.after):
                failed[name] = "it comes after another"
                continue
            assert set(work.after) <= set(self.done)
            try:
                if work.method == "look":
                    ended(name, facts_of(work.given.plan(bases.of(work.given.config.fit))) | self.facts)
                else:
                    ended(name, learn_part(work.given, bases, self.told))
            except kvorum.KvorumError as error:
                failed[name] = str(error)
                continue
            self.done.append(name)
        return failed


class Counted(SilentRounds):
    """Counts the rounds that are fitted; pulls the plug in one of them."""

    def __init__(self, plug: int = 10**6) -> None:
        self.fitted, self.plug = 0, plug

    def questions(self, done: int, total: int) -> None:
        if done == total:
            self.fitted += 1
            if self.fitted == self.plug:
                raise RuntimeError("the plug was pulled")


def in_parts(settings: Mapping[str, Any], runner: Here, per_worker: int = 1) -> Learned:
    with learn_in_parts(ask(learn_config(dict(settings), where="test")), runner, per_worker=per_worker) as learned:
        return learned


def kept(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


def the_same(one: Learned, two: Learned) -> None:
    """Files, choices and predictions up to rounding."""
    rounds = [{file.relative_to(of.path).as_posix() for file in of.path.glob("rounds/**/seed-*")} for of in (one, two)]
    apart = {name for name in rounds[0] ^ rounds[1] if not name.endswith("hidden.safetensors")}
    assert rounds[0] and not apart
    for name in one.config.acquisitions:
        assert one.rounds(name) == two.rounds(name) == one.config.rounds + 1
        for number in range(one.config.rounds + 1):
            for seed in one.config.seeds:
                records = [of.record(name, number, seed) for of in (one, two)]
                assert records[0].labelled == records[1].labelled and records[0].pool
                assert [a.id for a in records[0].added] == [a.id for a in records[1].added]
                for left, right in (
                    (of.test(name, number, seed, one.tests[0]) for of in (one, two)),
                    (of.pool(name, number, seed) for of in (one, two)),
                ):
                    assert left.ids == right.ids and left.facts["members"] == right.facts["members"]
                    np.testing.assert_allclose(left.probs, right.probs, atol=1e-5)


@pytest.mark.parametrize(("start", "per_worker"), [("prior", 1), ("posterior", 1), ("prior", 2)])
def test_parts_come_to_what_the_loop_does(
    settings: dict[str, Any], tmp_path: Path, start: str, per_worker: int
) -> None:
    config = {**settings, "start": start}
    plain = learn(learn_config(config | {"out": str(tmp_path / "plain")}, where="test"))
    runner = Here()
    learned = in_parts(config, runner, per_worker)
    the_same(plain, learned)
    assert not (learned.path / "groups").exists()
    assert len(runner.done) == 1 + 3 * (2 // per_worker)
    before = kept(learned.path / "rounds")
    told = Counted()
    in_parts(config, Here(told))
    learn(learn_config(config, where="test"), told)
    assert kept(learned.path / "rounds") == before and not told.fitted


@pytest.mark.parametrize("start", ["prior", "posterior"])
def test_a_part_that_died_loses_a_round_at_most(settings: dict[str, Any], tmp_path: Path, start: str) -> None:
    config = {**settings, "start": start, "seeds": [0]}
    whole, told = in_parts(config | {"out": str(tmp_path / "whole")}, Here()), Counted()
    for plug in (2, 3):
        with pytest.raises(RuntimeError, match="plug"):
            in_parts(config, Here(Counted(plug)))
    in_parts(config, Here(told))
    assert told.fitted == 5 - 3  # of the start and two rounds by two functions, the start and two rounds were kept
    assert kept(whole.path / "rounds") == kept(Path(settings["out"]) / "rounds")


def test_storage_that_is_no_folder_is_as_good(settings: dict[str, Any]) -> None:
    pytest.importorskip("fsspec")
    there = settings | {"out": "memory://experiments/learn"}
    storage = Storage(there["out"])
    assert storage.path is None
    whole = in_parts(settings, Here())
    with learn_in_parts(ask(learn_config(there, where="test")), Here()) as learned:
        the_same(whole, learned)
        (learned.path / "report").mkdir()
        (learned.path / "report/index.html").write_text("page")
    assert storage.read("report/index.html") == b"page" and not storage.within("groups").names()
    names = [file.relative_to(whole.path).as_posix() for file in whole.path.glob("rounds/**/seed-*")]
    assert storage.within("rounds").names() == sorted(name.removeprefix("rounds/") for name in names)
    assert all(storage.read(name) == (whole.path / name).read_bytes() for name in names)
    told = Counted()
    in_parts(there, Here(told))
    assert not told.fitted
    with pytest.raises(kvorum.KvorumError, match="its batch was 4, asked for was 5"):
        in_parts(there | {"batch": 5}, Here())
    with pytest.raises(kvorum.KvorumError, match=r"memory://experiments holds no experiment, but learn"):
        in_parts(there | {"out": "memory://experiments"}, Here())


def test_a_part_that_fails_is_named_and_the_others_are_done(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from kvorum.active.scored import Scored

    with monkeypatch.context() as patched:
        patched.setattr(Scored, "lost", lambda self, seed: seed == 3 and len(self.labelled[seed]) == 9)
        said = r"2 of 6 parts .* failed, the others .*: mutual_information, seed 3: all members of seed 3 diverged"
        with pytest.raises(kvorum.KvorumError, match=said):
            in_parts(settings, Here())
    out = Learned.open(settings["out"])
    assert out.record_file("k_centre", 2, 0).is_file() and not out.record_file("k_centre", 1, 3).is_file()
    with monkeypatch.context() as patched:
        patched.setattr(Scored, "lost", lambda self, seed: seed == 5)
        said = r"1 of 9 parts .* failed and 2 that come after them, .*: start, seed 5: all members of seed 5 diverged"
        with pytest.raises(kvorum.KvorumError, match=said):
            in_parts(settings | {"seeds": [0, 3, 5]}, Here())
    assert out.record_file("k_centre", 2, 3).is_file()


def test_damage_is_named_where_it_lies_and_mended_as_it_says(settings: dict[str, Any]) -> None:
    learned = in_parts(settings | {"rounds": 1}, Here())
    file, record = learned.pool_file("start", 0, 3), learned.record_file("start", 0, 3)
    good = file.read_bytes()
    file.write_bytes(good[:-1] + b"x")
    learned.record_file("k_centre", 1, 3).unlink()
    said = rf"1 of 6 parts.*k_centre, seed 3: {file}: is missing or not what was written; remove {record}, and it"
    with pytest.raises(kvorum.KvorumError, match=said):
        in_parts(settings | {"rounds": 1}, Here())
    record.unlink()
    again = in_parts(settings | {"rounds": 1}, Here())
    assert again.rounds("k_centre") == 2 and file.read_bytes() == good


def test_another_experiment_is_refused_and_left(settings: dict[str, Any], tmp_path: Path) -> None:
    learned = in_parts(settings | {"rounds": 1}, Here())
    before = kept(learned.path)
    with pytest.raises(kvorum.KvorumError, match="its initial was 5, asked for was 6"):
        in_parts(settings | {"initial": 6}, Here())
    assert kept(learned.path) == before
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/thesis.tex").write_text("mine")
    with pytest.raises(kvorum.KvorumError, match=r"holds no experiment, but thesis.tex"):
        in_parts(settings | {"out": str(tmp_path / "thesis")}, Here())


def test_another_base_model_on_a_worker_is_refused(settings: dict[str, Any]) -> None:
    runner = Here(facts={"base_revision": "of another machine"})
    with pytest.raises(kvorum.KvorumError, match=r"the base model .* is another on this machine"):
        in_parts(settings, runner)
    assert runner.done == [BASE]


def test_who_was_taken_over_may_not_write(settings: dict[str, Any], tmp_path: Path) -> None:
    learned = in_parts(settings | {"rounds": 1}, Here())
    storage = Storage(settings["out"])
    old, new = (Sent(tmp_path / name, learned.config, storage) for name in ("old", "new"))
    old.take_up("k_centre")
    new.take_up("k_centre")
    record, before = new.record("k_centre", 1, 3), kept(learned.path / "rounds")
    with pytest.raises(TakenOver, match="another worker goes on with k_centre, seed 3"):
        old.save(record)
    assert kept(learned.path / "rounds") == before


def test_a_stop_is_heard_between_steps_and_loses_what_is_under_way(settings: dict[str, Any]) -> None:
    stop = StopRequest()
    heard: list[Any] = []

    def tell(said: Any) -> int | None:
        heard.append(said)
        return 15 if any("epoch" in one.state for one in heard) else None

    with pytest.raises(Stopped):
        in_parts(settings, Here(ToldRounds(Teller("start, seed 0", tell, stop), stop)))
    assert stop.asked == 15 and heard[0].state["doing"].startswith("start: ")
    assert not list(Path(settings["out"]).rglob("seed-*"))
    told = Counted()
    assert in_parts(settings, Here(told)).rounds("k_centre") == 3 and told.fitted == 10


def test_what_comes_after_a_failed_piece_fails_with_it() -> None:
    works = {
        "base": Work("look", None),
        "start": Work("learn", None, after=("base",)),
        "one": Work("learn", None, after=("start",)),
        "other": Work("learn", None, after=("base",)),
    }
    view = View(Console(file=io.StringIO()))
    view.begin(list(works))
    dispatch = Dispatch(Cluster(1.0, 0.0), works, view)
    assert dispatch._ready() == ["base"]
    dispatch.waiting.popleft()
    dispatch.results["base"] = None
    assert dispatch._ready() == ["start", "other"]
    dispatch.waiting.remove("start")
    dispatch._give_up("start", "no disk")
    assert dispatch.failed == {"start": "no disk", "one": "it comes after start"}
    assert list(dispatch.waiting) == ["other"] and view.rows["one"].state == "failed"


def test_of_a_url_no_key_is_kept(settings: dict[str, Any], tmp_path: Path) -> None:
    config = learn_config(settings | {"out": "s3://AKIA:HUSH@bucket/x?secret_key=HUSH"}, where="test")
    (tmp_path / "here").mkdir()
    place = Place(folder=tmp_path / "here", storage=Storage(str(tmp_path / "here")))
    place.begin(config, {"started": "now"}, "mark")
    there = (tmp_path / "here" / "config.yaml").read_text()
    assert "HUSH" not in there and "s3://bucket/x" in there


def test_a_url_without_a_cluster_is_refused_without_its_key(
    settings: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "learn.yaml").write_text(json.dumps(settings))
    with pytest.raises(SystemExit):
        cli.main(["learn", str(tmp_path / "learn.yaml"), "--out", "s3://bucket/x?secret_key=HUSH"])
    said = capsys.readouterr().err
    assert "s3://bucket/x" in said and "HUSH" not in said
