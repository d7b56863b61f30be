"""Groups of members fitted apart and joined are the fit of all of them together."""

import dataclasses
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import kvorum
from kvorum import files
from kvorum.adapters import AdapterStack
from kvorum.cluster.fit import one_after_another
from kvorum.cluster.groups import grouped, name_of
from kvorum.cluster.join import join, split
from kvorum.cluster.storage import Storage
from kvorum.posterior.fitting import Fitting
from kvorum.posterior.progress import Silent
from kvorum.run import Point, Run, start_run
from tests.cluster.fits import at_once, held, in_groups, no_leftovers, same_fit
from tests.posterior.test_fit import StopAfter


def resting(parts: Mapping[str, object]) -> dict[str, str]:
    """A runner for parts that are done."""
    return {}


@pytest.mark.parametrize(
    "settings",
    [
        {"dropout": 0.2, "diversity": ["initialisation", "order", "bootstrap"], "schedule": "cosine", "warmup": 0.3},
        {"answer_format": "letter", "chat": True, "diversity": ["order"], "members": 3, "clip": 0.0},
    ],
    ids=["text", "letter"],
)
def test_groups_joined_are_the_joint_fit(tiny_model: str, few: str, tmp_path: Path, settings: dict[str, Any]) -> None:
    joint = at_once(tiny_model, few, tmp_path / "joint", evaluate=[few, "facts_sums"], **settings)
    apart = in_groups(tiny_model, few, tmp_path / "apart", evaluate=[few, "facts_sums"], **settings)
    same_fit(joint, apart)
    no_leftovers(apart)
    assert apart.facts["groups"] == ["00000-00001", "00002-00003" if "members" not in settings else "00002-00002"]
    before = held(apart)
    in_groups(tiny_model, few, tmp_path / "apart", evaluate=[few, "facts_sums"], **settings)
    assert held(apart) == before
    at_once(tiny_model, few, tmp_path / "apart", evaluate=[few, "facts_sums"], **settings)
    assert held(apart) == before


def test_one_group_of_all_is_the_joint_fit_to_the_last_bit(
    tiny_model: str, few: str, tmp_path: Path, joint: Run
) -> None:
    assert held(in_groups(tiny_model, few, tmp_path / "apart", 4)) == held(joint)


def test_what_is_split_and_joined_is_what_was_there(tmp_path: Path, joint: Run) -> None:
    whole, parts = joint, []
    for members in grouped(range(4), 3):
        parts.append(Run(tmp_path / str(members[0]), whole.config, whole.facts))
        parts[-1].save_config()
        split(whole, parts[-1], members)
        assert parts[-1].damage() == [] and parts[-1].scores() == whole.scores()
    again = start_run(tmp_path / "again", whole.config, whole.facts)
    join(again, parts, ["few"])
    log = [line | {"tokens": 2 * line["tokens"]} for line in whole.log]  # which no line tells apart by members
    assert again.log == log
    (again.path / "log.jsonl").write_bytes((whole.path / "log.jsonl").read_bytes())
    assert held(again) == held(whole)


def test_groups_go_on_from_a_joint_fit_and_a_joint_fit_from_groups(
    tiny_model: str, few: str, tmp_path: Path, joint: Run, caplog: pytest.LogCaptureFixture
) -> None:
    begun = at_once(tiny_model, few, tmp_path / "first", epochs=1)
    shutil.copytree(begun.path, tmp_path / "bits")
    caplog.set_level(logging.INFO)
    first = in_groups(tiny_model, few, tmp_path / "first")
    assert caplog.text.count("going on after epoch 1, to epoch 2") == 2
    same_fit(joint, first)
    no_leftovers(first)
    in_groups(tiny_model, few, tmp_path / "last", 3, epochs=1)
    same_fit(joint, at_once(tiny_model, few, tmp_path / "last"))
    assert held(in_groups(tiny_model, few, tmp_path / "bits", 4)) == held(joint)


def test_groups_go_on_from_a_step_within_an_epoch(
    tiny_model: str, few: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings: dict[str, Any] = {"batch_size": 2, "save_minutes": 0}
    joint = at_once(tiny_model, few, tmp_path / "joint", **settings)
    with pytest.raises(RuntimeError, match="plug"):
        at_once(tiny_model, few, tmp_path / "apart", progress=StopAfter(6), **settings)
    assert Run.open(tmp_path / "apart").points[-1] == Point(1, 2)
    caplog.set_level(logging.INFO)
    apart = in_groups(tiny_model, few, tmp_path / "apart", **settings)
    assert caplog.text.count("going on after epoch 2, step 2, to epoch 2") == 2
    same_fit(joint, apart)
    no_leftovers(apart)


def test_a_task_asked_for_later_is_scored_at_all_epochs(tiny_model: str, few: str, tmp_path: Path) -> None:
    both: dict[str, Any] = {"evaluate": [few, "facts_sums"], "epochs": 1}
    joint = at_once(tiny_model, few, tmp_path / "joint", **both)
    in_groups(tiny_model, few, tmp_path / "apart", epochs=1)
    apart = in_groups(tiny_model, few, tmp_path / "apart", **both)
    assert apart.scores() == {(epoch, task) for epoch in (0, 1) for task in ("few", "facts_sums")}
    same_fit(joint, apart)
    no_leftovers(apart)


def test_a_task_whose_questions_have_changed_is_scored_again(
    tiny_model: str, few: str, question_file: str, tmp_path: Path
) -> None:
    both: dict[str, Any] = {"evaluate": [few, question_file], "epochs": 1}
    in_groups(tiny_model, few, tmp_path / "apart", **both)
    Path(question_file).write_text(Path(question_file).read_text().replace("Which is 3?", "Which is three?"))
    apart = in_groups(tiny_model, few, tmp_path / "apart", **both)
    same_fit(at_once(tiny_model, few, tmp_path / "joint", **both), apart)
    no_leftovers(apart)


@pytest.mark.parametrize("before", [0, 1])
def test_wherever_joining_is_cut_short_the_run_is_whole_and_the_same_again_completes_it(
    tiny_model: str, few: str, tmp_path: Path, joint: Run, monkeypatch: pytest.MonkeyPatch, before: int
) -> None:
    out = tmp_path / "begun"
    if before:
        at_once(tiny_model, few, out, epochs=1)
    with pytest.raises(kvorum.KvorumError, match="1 of 2 groups failed, the others are done and kept"):
        in_groups(tiny_model, few, out, runner=_all_but_saying_so)
    there = held(Run.open(out)) if before else {}
    real, at = files.os.replace, 0
    cut = True
    while cut:
        at += 1
        torn = tmp_path / f"torn-{at}"
        shutil.copytree(out, torn)
        cut, seen = False, 0

        def replace(source: Path, target: Path, torn: Path = torn, at: int = at) -> None:
            nonlocal seen, cut
            if Path(target).is_relative_to(torn) and "groups" not in Path(target).parts:
                seen += 1
                if seen >= at and Path(target).name != "lock.json":
                    cut = True
                    raise OSError(28, "No space left on device")
            real(source, target)

        monkeypatch.setattr(files.os, "replace", replace)
        try:
            in_groups(tiny_model, few, torn, runner=resting)
        except (OSError, kvorum.KvorumError) as error:
            assert "No space" in str(error)
        monkeypatch.setattr(files.os, "replace", real)
        if (torn / "config.yaml").is_file():
            run = Run.open(torn)
            assert run.damage() == []
            if run.epochs == joint.epochs:
                same_fit(joint, run)
            else:
                assert held(run) == there
        run = in_groups(tiny_model, few, torn, runner=resting)
        same_fit(joint, run)
        no_leftovers(run)
    assert at > 10


def test_groups_that_joining_left_behind_are_removed(
    tiny_model: str, few: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(storage: Storage) -> None:
        raise OSError(5, "the storage is gone")

    monkeypatch.setattr(Storage, "remove_all", gone)
    with pytest.raises(OSError, match="gone"):
        in_groups(tiny_model, few, tmp_path / "run", epochs=1)
    assert (tmp_path / "run" / "groups").is_dir()
    monkeypatch.undo()
    no_leftovers(in_groups(tiny_model, few, tmp_path / "run", epochs=1))


def _all_but_saying_so(parts: Mapping[str, Any]) -> Mapping[str, str]:
    one_after_another(Silent, lambda line: None)(parts)
    return {next(iter(parts)): "the test says so"}


def poison(monkeypatch: pytest.MonkeyPatch, *members: int) -> None:
    """Make members diverge at the first step."""
    begin = Fitting.__init__

    def poisoned(self: Fitting, *rest: Any, **named: Any) -> None:
        begin(self, *rest, **named)
        for place, member in enumerate(self.stack.members):
            if self.point == (0, 0) and member in members:
                next(iter(self.stack.b.values()))[place].fill_(1e38)

    monkeypatch.setattr(Fitting, "__init__", poisoned)


@pytest.mark.parametrize("per_worker", [1, 3])
def test_a_member_that_diverges_in_its_group_is_as_if_among_all(
    tiny_model: str, few: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, per_worker: int
) -> None:
    poison(monkeypatch, 0, 2)
    settings: dict[str, Any] = {"members": 3, "epochs": 1}
    joint = at_once(tiny_model, few, tmp_path / "joint", **settings)
    assert joint.predictions(1, "few").facts["members"] == [1]
    apart = in_groups(tiny_model, few, tmp_path / "apart", per_worker, **settings)
    same_fit(joint, apart)
    no_leftovers(apart)
    monkeypatch.undo()
    settings["epochs"] = 2
    joint = at_once(tiny_model, few, joint.path, **settings)
    same_fit(joint, in_groups(tiny_model, few, apart.path, per_worker, **settings))


def test_if_all_diverge_it_says_so_and_keeps_nothing_of_it(tiny_model: str, few: str, tmp_path: Path) -> None:
    with pytest.raises(kvorum.KvorumError, match=r"every member diverged by epoch 1 .*lower --lr \(it is 1e\+30\)"):
        in_groups(tiny_model, few, tmp_path / "apart", lr=1e30, clip=0.0)
    with pytest.raises(kvorum.KvorumError, match=r"1 of 1 groups failed.*every member diverged by epoch 1, step"):
        in_groups(tiny_model, few, tmp_path / "one", 4, lr=1e30, clip=0.0)


def test_other_groups_and_other_settings_are_refused(tiny_model: str, few: str, tmp_path: Path) -> None:
    out = tmp_path / "apart"
    with pytest.raises(kvorum.KvorumError, match="1 of 2 groups failed"):
        in_groups(tiny_model, few, out, runner=_all_but_saying_so)
    with pytest.raises(kvorum.KvorumError, match=r"begun as one group; go on with --members-per-worker 2, or remove"):
        in_groups(tiny_model, few, out, 1)
    with pytest.raises(kvorum.KvorumError, match=r"its lr is 0.01, asked for was 0.02") as refused:
        in_groups(tiny_model, few, out, lr=0.02)
    assert str(out) in str(refused.value) and "kvorum-" not in str(refused.value)
    in_groups(tiny_model, few, out, None)
    for fit in (in_groups, at_once):
        with pytest.raises(kvorum.KvorumError, match=r"holds another run: its lr is 0.01, asked for was 0.02"):
            fit(tiny_model, few, out, lr=0.02)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    with pytest.raises(kvorum.KvorumError, match="not empty and holds no run"):
        in_groups(tiny_model, few, tmp_path / "full")


def test_other_questions_are_refused(tiny_model: str, few: str, tmp_path: Path) -> None:
    own = tmp_path / "own.jsonl"
    own.write_text(Path(few).read_text())
    before = held(in_groups(tiny_model, str(own), tmp_path / "apart", epochs=1))
    own.write_text(own.read_text().replace('"answer": 0', '"answer": 1', 1))
    with pytest.raises(kvorum.KvorumError, match="training questions: was"):
        in_groups(tiny_model, str(own), tmp_path / "apart", epochs=2)
    assert held(Run.open(tmp_path / "apart")) == before


def test_a_damaged_run_is_refused(tiny_model: str, few: str, tmp_path: Path) -> None:
    run = in_groups(tiny_model, few, tmp_path / "apart", epochs=1)
    run.adapters_file(0).unlink()
    with pytest.raises(kvorum.KvorumError, match=r"epochs/000/adapters.safetensors is missing; kvorum check --repair"):
        in_groups(tiny_model, few, tmp_path / "apart", epochs=2)


def test_groups_go_on_from_a_posterior_though_its_run_has_moved_on(
    tiny_model: str, few: str, question_file: str, tmp_path: Path
) -> None:
    at_once(tiny_model, question_file, tmp_path / "first", epochs=1)
    warm: dict[str, Any] = {"warm_start": str(tmp_path / "first")}
    joint = at_once(tiny_model, few, tmp_path / "joint", **warm)
    in_groups(tiny_model, few, tmp_path / "apart", epochs=1, **warm)
    at_once(tiny_model, question_file, tmp_path / "first", epochs=2)
    apart = in_groups(tiny_model, few, tmp_path / "apart", **warm)
    same_fit(joint, apart)
    with pytest.raises(kvorum.KvorumError, match="warm_start and out are the same run"):
        in_groups(tiny_model, few, tmp_path / "first", **warm)


def test_groups_of_a_diverged_member_go_on_too(
    tiny_model: str, few: str, question_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison(monkeypatch, 1)
    at_once(tiny_model, question_file, tmp_path / "first", epochs=1)
    monkeypatch.undo()
    warm: dict[str, Any] = {"warm_start": str(tmp_path / "first")}
    joint = at_once(tiny_model, few, tmp_path / "joint", **warm)
    in_groups(tiny_model, few, tmp_path / "apart", 1, epochs=1, **warm)
    assert AdapterStack.load(tmp_path / "apart/epochs/001/adapters.safetensors").active == (0, 2, 3)
    same_fit(joint, in_groups(tiny_model, few, tmp_path / "apart", 1, **warm))


def _apart(joint: Run, folder: Path) -> list[Run]:
    """A fit of four members as two groups."""
    parts = []
    for members in grouped(range(4), 2):
        parts.append(Run(folder / name_of(members), joint.config, joint.facts))
        parts[-1].save_config()
        split(joint, parts[-1], members)
    return parts


@pytest.mark.parametrize(
    ("settings", "facts", "why"),
    [
        ({}, {"base_revision": "another"}, "base model's revision: was "),
        ({}, {"dtype": "bfloat16"}, "base model's precision: was float32, now bfloat16"),
        ({}, {"tokens_digest": "another"}, "tokenizer: was "),
        ({"lr": 0.5}, {}, "its lr is 0.01, asked for was 0.5"),
    ],
)
def test_groups_that_are_not_of_one_fit_are_not_joined(
    joint: Run, tmp_path: Path, settings: dict[str, Any], facts: dict[str, Any], why: str
) -> None:
    parts = _apart(joint, tmp_path)
    parts[1] = Run(parts[1].path, dataclasses.replace(joint.config, **settings), joint.facts | facts)
    with pytest.raises(kvorum.KvorumError, match=f"groups 00000-00001 and 00002-00003 are not of one fit: {why}"):
        join(start_run(tmp_path / "again", joint.config, joint.facts), parts, ["few"])


def test_groups_whose_logs_are_of_other_lengths_are_not_joined(joint: Run, tmp_path: Path) -> None:
    parts = _apart(joint, tmp_path)
    log = parts[1].path / "log.jsonl"
    log.write_text("".join(log.read_text().splitlines(keepends=True)[1:]))
    parts[1].keep(log)
    whole = start_run(tmp_path / "again", joint.config, joint.facts)
    with pytest.raises(kvorum.KvorumError, match="different numbers of steps: 00000-00001 4, 00002-00003 3"):
        join(whole, parts, ["few"])
    assert whole.epochs == ()


def test_what_a_group_has_of_the_next_epoch_is_not_joined(joint: Run, tmp_path: Path) -> None:
    parts = _apart(joint, tmp_path)
    log = parts[1].path / "log.jsonl"
    line = log.read_text().splitlines(keepends=True)[-1]
    log.write_text(log.read_text() + line.replace('"epoch": 2, "step": 1', '"epoch": 3, "step": 0'))
    assert '"epoch": 3' in log.read_text()
    parts[1].keep(log)
    whole = start_run(tmp_path / "again", joint.config, joint.facts)
    join(whole, parts, ["few"])
    assert len(whole.log) == len(joint.log)
