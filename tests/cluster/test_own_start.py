"""Groups that go on from a posterior: from the one that they were begun with, whatever has become of its run."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from kvorum import KvorumError
from kvorum.cluster.dispatch import Ended, nothing_more
from kvorum.cluster.fit import fit_in_groups, one_after_another
from kvorum.cluster.mirror import Mirror
from kvorum.cluster.part import Part
from kvorum.cluster.storage import Storage
from kvorum.posterior.progress import Silent
from kvorum.run import Run
from tests.cluster.fits import asked, at_once, in_groups, told


@pytest.fixture(scope="module")
def first(tiny_model: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A posterior to go on from; only to be read."""
    return at_once(tiny_model, "facts_sums", tmp_path_factory.mktemp("first") / "run", epochs=1).path


@pytest.fixture
def warm(first: Path, tmp_path: Path) -> dict[str, Any]:
    """Settings that go on from a copy of it."""
    shutil.copytree(first, tmp_path / "first")
    return {"warm_start": str(tmp_path / "first"), "epochs": 0}


def all_but_saying_so(parts: Mapping[str, Part], ended: Ended = nothing_more) -> Mapping[str, str]:
    one_after_another(Silent, told)(parts)
    return {next(iter(parts)): "the test says so"}


def in_groups_at(model: str, task: str, url: str, **settings: Any) -> None:
    """A fit in groups on storage that is no folder."""
    runner = settings.pop("runner", None) or one_after_another(Silent, told)
    fit_in_groups(asked(model, task, url, **settings), runner, per_worker=2)


def test_the_same_run_by_a_url_is_refused(tiny_model: str, few: str, warm: dict[str, Any]) -> None:
    with pytest.raises(KvorumError, match="warm_start and out are the same run"):
        asked(tiny_model, few, f"file://{warm['warm_start']}", **warm)


@pytest.mark.parametrize("name", ["members", "rank", "alpha"])
def test_other_shapes_are_refused_before_any_worker_begins(
    tiny_model: str, few: str, tmp_path: Path, warm: dict[str, Any], name: str
) -> None:
    with pytest.raises(KvorumError, match=rf"warm_start .* has {name} .*; say --{name}"):
        asked(tiny_model, few, tmp_path / "run", **warm | {name: 3})


@pytest.mark.parametrize("whole", [True, False])
def test_a_posterior_whose_run_is_gone_is_had_from_what_was_begun_with_it(
    tiny_model: str, few: str, tmp_path: Path, warm: dict[str, Any], whole: bool
) -> None:
    url = f"memory://own-start/{whole}"
    pytest.importorskip("fsspec")
    before = asked(tiny_model, few, url, **warm).inputs.warm
    if whole:
        in_groups_at(tiny_model, few, url, **warm)
    else:
        with pytest.raises(KvorumError, match="the test says so"):
            in_groups_at(tiny_model, few, url, runner=all_but_saying_so, **warm)
    shutil.rmtree(warm["warm_start"])
    again = asked(tiny_model, few, url, **warm).inputs.warm
    assert before is not None and again is not None and again.digest == before.digest
    in_groups_at(tiny_model, few, url, **warm | {"epochs": 1})
    Mirror(tmp_path / "fetched", Storage(url)).fetch()
    assert Run.open(tmp_path / "fetched").epochs == (0, 1)


def test_groups_here_that_lost_it_go_on_too(tiny_model: str, few: str, tmp_path: Path, warm: dict[str, Any]) -> None:
    with pytest.raises(KvorumError, match="the test says so"):
        in_groups(tiny_model, few, tmp_path / "run", runner=all_but_saying_so, **warm)
    shutil.rmtree(warm["warm_start"])
    assert in_groups(tiny_model, few, tmp_path / "run", **warm).epochs == (0,)


def test_another_epoch_of_it_is_refused_before_the_start(
    tiny_model: str, few: str, tmp_path: Path, warm: dict[str, Any]
) -> None:
    with pytest.raises(KvorumError, match="the test says so"):
        in_groups(tiny_model, few, tmp_path / "run", runner=all_but_saying_so, **warm)
    other = warm | {"warm_start": f"{warm['warm_start']}/epochs/000"}
    with pytest.raises(KvorumError, match="posterior that it started from: was"):
        in_groups(tiny_model, few, tmp_path / "run", runner=lambda parts, ended: {"none": "started"}, **other)
