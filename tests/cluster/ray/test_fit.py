"""Fits on the workers of a cluster: the same to the last bit, whoever dies."""

import logging
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

import kvorum
from kvorum.cluster import dispatch
from kvorum.cluster.mirror import Mirror
from kvorum.cluster.storage import Storage
from kvorum.run import Run
from tests.cluster.fits import held, in_groups, no_leftovers, same_fit
from tests.cluster.ray.conftest import LONG, Nodes, Watched, kill, on_cluster

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def long(tiny_model: str, few: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What a long fit in groups of two comes to."""
    run = in_groups(tiny_model, few, tmp_path_factory.mktemp("long") / "run", 2, **LONG)
    return held(run)


def goings_on(caplog: pytest.LogCaptureFixture, group: str) -> list[str]:
    """Where a group was gone on with, in turn."""
    return re.findall(rf"{group}: going on after (.*), to epoch", caplog.text)


def test_groups_on_a_cluster_are_those_of_one_process(
    cluster: Nodes, tiny_model: str, few: str, joint: Run, tmp_path: Path
) -> None:
    apart = in_groups(tiny_model, few, tmp_path / "apart")
    run, view = on_cluster(cluster, tiny_model, few, tmp_path / "run")
    assert held(run) == held(apart)
    same_fit(joint, run)
    no_leftovers(run)
    assert [row.state for row in view.rows.values()] == ["done", "done"]
    again, view = on_cluster(cluster, tiny_model, few, tmp_path / "run")
    assert held(again) == held(apart) and not view.rows, "what is done is left as it is"


def test_all_members_on_one_worker_are_the_joint_fit_to_the_last_bit(
    cluster: Nodes, tiny_model: str, few: str, joint: Run, tmp_path: Path
) -> None:
    assert held(on_cluster(cluster, tiny_model, few, tmp_path / "run", 4)[0]) == held(joint)


def test_by_default_all_workers_are_busy_and_on_machines_of_their_own(
    cluster: Nodes, tiny_model: str, few: str, tmp_path: Path
) -> None:
    nodes = {}

    class Looking(Watched):
        def told(self, work: str, **state: Any) -> None:
            super().told(work, **state)
            if state.get("where"):
                nodes[work] = cluster.node_of(int(state["where"].rpartition(":")[2]))

    settings = LONG | {"members": 6, "epochs": 1}
    run, _ = on_cluster(cluster, tiny_model, few, tmp_path / "run", None, view=Looking(), **settings)
    assert run.facts["groups"] == ["00000-00001", "00002-00003", "00004-00005"]
    assert len(nodes) == 3 and len(set(nodes.values())) > 1


def test_a_worker_that_is_killed_is_followed_by_one_that_goes_on(
    cluster: Nodes, tiny_model: str, few: str, long: dict[str, bytes], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    view = Watched(kill, at="epoch 2, step 3")
    run, _ = on_cluster(cluster, tiny_model, few, tmp_path / "run", view=view, **LONG)
    assert held(run) == long
    no_leftovers(run)
    assert view.called is not None and f"{view.called}: its worker " in caplog.text
    (went_on,) = goings_on(caplog, view.called)
    assert re.fullmatch(r"epoch 2(, step [3-8])?", went_on), "not from the start"
    (other,) = {*view.rows} - {view.called}
    assert goings_on(caplog, other) == []
    steps = view.saved(view.called)
    assert len(steps) <= 24 + 3 + 3, "hardly a step was taken twice"


def test_a_machine_that_is_lost_is_done_without(
    cluster: Nodes, tiny_model: str, few: str, long: dict[str, bytes], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    view = Watched(lambda work, pid: cluster.lose(cluster.node_of(pid)), at="epoch 1, step 4")
    try:
        run, _ = on_cluster(cluster, tiny_model, few, tmp_path / "run", view=view, **LONG)
    finally:
        cluster.add(1)
    assert view.called is not None and len(goings_on(caplog, view.called)) == 1
    assert held(run) == long
    no_leftovers(run)


def test_a_worker_whose_group_is_taken_over_may_not_write(
    cluster: Nodes, tiny_model: str, few: str, long: dict[str, bytes], tmp_path: Path
) -> None:
    """As when a machine was cut off and is back, after another has gone on with its work."""
    groups = {"members 0-1": "00000-00001", "members 2-3": "00002-00003"}

    def take_over(work: str, pid: int) -> None:
        Mirror(tmp_path, Storage(str(tmp_path / "run")).within(f"groups/{groups[work]}")).own()

    view = Watched(take_over, at="epoch 1, step 4")
    with pytest.raises(kvorum.KvorumError, match=r"1 of 2 groups failed.*another worker goes on with this"):
        on_cluster(cluster, tiny_model, few, tmp_path / "run", view=view, **LONG)
    assert view.called is not None
    left = Run.open(tmp_path / "run" / "groups" / groups[view.called])
    assert left.damage() == [] and 3 not in left.epochs
    assert held(on_cluster(cluster, tiny_model, few, tmp_path / "run", **LONG)[0]) == long


def test_a_group_that_fails_for_good_is_told_of_and_the_others_are_kept(
    cluster: Nodes,
    tiny_model: str,
    few: str,
    joint: Run,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dispatch, "PAUSE", 0.1)
    (tmp_path / "run" / "groups").mkdir(parents=True)
    (tmp_path / "run" / "groups" / "00000-00001").write_text("in the way")
    with pytest.raises(kvorum.KvorumError, match="1 of 2 groups failed, the others are done and kept in") as failed:
        on_cluster(cluster, tiny_model, few, tmp_path / "run")
    assert re.search(r"members 0-1: on .*so often in a row, with nothing saved in between", str(failed.value))
    done = Run.open(tmp_path / "run" / "groups" / "00002-00003")
    assert done.epochs == (0, 1, 2) and not (tmp_path / "run" / "config.yaml").exists()
    (tmp_path / "run" / "groups" / "00000-00001").unlink()
    caplog.set_level(logging.INFO)
    run, _ = on_cluster(cluster, tiny_model, few, tmp_path / "run")
    same_fit(joint, run)
    no_leftovers(run)
    assert goings_on(caplog, "members 2-3") == ["epoch 2"] and goings_on(caplog, "members 0-1") == []


def test_groups_that_no_machine_can_fit_fail(cluster: Nodes, tiny_model: str, few: str, tmp_path: Path) -> None:
    own = tmp_path / "model"
    shutil.copytree(tiny_model, own)
    view = Watched(lambda work, pid: None)
    view.begin = lambda works: (shutil.rmtree(own), Watched.begin(view, works))[-1]  # type: ignore[method-assign]
    with pytest.raises(
        kvorum.KvorumError, match=r"2 of 2 groups failed.*: members (0-1, members 2-3|2-3, members 0-1): model"
    ):
        on_cluster(cluster, str(own), few, tmp_path / "run", view=view)
    assert {row.state for row in view.rows.values()} == {"failed"}


def test_on_s3(cluster: Nodes, tiny_model: str, few: str, joint: Run, tmp_path: Path, s3: str) -> None:
    # The workers' own environment holds no keys.
    url = f"s3://test:test@bucket/runs/on ray{s3}"
    on_cluster(cluster, tiny_model, few, url)
    there = Storage(url)
    Mirror(tmp_path / "fetched", there).fetch()
    run = Run.open(tmp_path / "fetched")
    same_fit(joint, run)
    no_leftovers(run)
    assert not [name for name in there.names() if name.startswith("groups")]
