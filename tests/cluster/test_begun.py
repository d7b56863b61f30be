"""Groups that are begun, and a fit that goes on from them: refused before it starts where it is another."""

import dataclasses
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from kvorum import KvorumError
from kvorum.cluster.begun import fix_facts, refuse_other_facts
from kvorum.cluster.dispatch import Ended, nothing_more
from kvorum.cluster.fit import one_after_another
from kvorum.cluster.part import Bases, Part, fit_part
from kvorum.cluster.storage import Storage
from kvorum.config import FitConfig
from kvorum.engine import BaseModel
from kvorum.posterior.progress import Silent
from kvorum.posterior.stop import StopRequest
from kvorum.run import Run
from tests.cluster.fits import at_once, in_groups, same_fit, told


def nobody(parts: Mapping[str, Part], ended: Ended = nothing_more) -> Mapping[str, str]:
    """A runner that must not be asked."""
    raise AssertionError(f"{sorted(parts)} were started")


def the_last(parts: Mapping[str, Part], ended: Ended = nothing_more) -> Mapping[str, str]:
    """A runner that fits the last part alone."""
    name = list(parts)[-1]
    one_after_another(Silent, told)({name: parts[name]})
    return {name: "the test says so"}


class Others(Bases):
    """A machine whose base model is of another revision."""

    def of(self, config: FitConfig) -> BaseModel:
        return dataclasses.replace(super().of(config), revision="another")


@pytest.fixture(scope="module")
def half(tiny_model: str, few: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four members of which the last is begun, in groups of three; only to be read."""
    out = tmp_path_factory.mktemp("half") / "run"
    with pytest.raises(KvorumError, match="the test says so"):
        in_groups(tiny_model, few, out, 3, runner=the_last)
    return out


@pytest.fixture
def begun(half: Path, tmp_path: Path) -> Path:
    """Such a run of one's own."""
    return Path(shutil.copytree(half, tmp_path / "run"))


def test_the_same_command_goes_on_though_only_the_smaller_group_is_begun(
    tiny_model: str, few: str, begun: Path, joint: Run
) -> None:
    run = in_groups(tiny_model, few, begun, None)
    assert run.facts["groups"] == ["00000-00002", "00003-00003"]
    same_fit(joint, run)


def test_other_settings_are_refused_before_any_group_is_started(tiny_model: str, few: str, begun: Path) -> None:
    with pytest.raises(KvorumError, match=r"run/groups/00003-00003 holds another run: its lr is 0.01") as refused:
        in_groups(tiny_model, few, begun, 3, lr=0.02, runner=nobody)
    assert "kvorum-" not in str(refused.value) and "--allow-drift" not in str(refused.value)


def test_other_questions_are_refused_before_any_group_is_started(tiny_model: str, few: str, tmp_path: Path) -> None:
    own = tmp_path / "own.jsonl"
    own.write_text(Path(few).read_text())
    with pytest.raises(KvorumError, match="the test says so"):
        in_groups(tiny_model, str(own), tmp_path / "run", 3, runner=the_last, epochs=0)
    own.write_text(own.read_text().replace('"answer": 0', '"answer": 1', 1))
    with pytest.raises(KvorumError, match=r"00003-00003 holds another run: training questions: was"):
        in_groups(tiny_model, str(own), tmp_path / "run", 3, runner=nobody, epochs=0)


def test_fewer_epochs_than_a_group_has_are_refused(tiny_model: str, few: str, begun: Path) -> None:
    with pytest.raises(KvorumError, match=r"group 00003-00003 is fitted to epoch 2 already.*--epochs 2 or more"):
        in_groups(tiny_model, few, begun, 3, epochs=1, runner=nobody)


def test_a_worker_with_another_base_model_is_refused_before_it_fits(tiny_model: str, few: str, begun: Path) -> None:
    def elsewhere(parts: Mapping[str, Part], ended: Ended = nothing_more) -> Mapping[str, str]:
        fit_part(parts["members 0-2"], Others(), Silent(), StopRequest())
        return {}

    with pytest.raises(KvorumError, match=r"run is fitted on something else by other workers: base model's revision"):
        in_groups(tiny_model, few, begun, 3, runner=elsewhere)
    assert not (begun / "groups/00000-00002/manifest.json").exists()


def test_the_first_that_begins_says_what_all_must_find(tmp_path: Path) -> None:
    run, facts = Storage(str(tmp_path)), {"base_revision": "a", "dtype": "float32"}
    refuse_other_facts(run, facts)
    refuse_other_facts(run, facts | {"device": "cuda"})
    with pytest.raises(KvorumError, match="precision: was float32, now bfloat16"):
        refuse_other_facts(run, facts | {"dtype": "bfloat16"})
    fix_facts(run, None)
    refuse_other_facts(run, facts | {"dtype": "bfloat16"})
    run.write("groups/facts.json", json.dumps("no").encode())
    with pytest.raises(KvorumError, match=r"groups/facts.json: is damaged"):
        refuse_other_facts(run, facts)


def test_a_fit_in_one_process_does_not_pass_over_groups(tiny_model: str, few: str, begun: Path) -> None:
    with pytest.raises(KvorumError, match=r"1 groups of its members are begun.*same --ray or --members-per-worker"):
        at_once(tiny_model, few, begun)
    assert not (begun / "config.yaml").exists()


def test_groups_that_the_run_is_ahead_of_begin_with_what_it_holds(
    tiny_model: str, few: str, tmp_path: Path, joint: Run
) -> None:
    out = tmp_path / "run"
    at_once(tiny_model, few, out, epochs=0)
    asked: dict[str, Any] = {"epochs": 1}
    with pytest.raises(KvorumError, match="the test says so"):
        in_groups(
            tiny_model, few, out, 2, runner=lambda parts, ended=nothing_more: {"any": "the test says so"}, **asked
        )
    (out / "groups").rename(tmp_path / "groups")
    at_once(tiny_model, few, out, epochs=1)
    (tmp_path / "groups").rename(out / "groups")
    at = []

    def seen(parts: Mapping[str, Part], ended: Ended = nothing_more) -> Mapping[str, str]:
        at.extend(Run.open(str(part.storage)).newest_epoch for part in parts.values())
        return one_after_another(Silent, told)(parts)

    run = in_groups(tiny_model, few, out, 2, runner=seen)
    assert at == [1, 1]
    same_fit(joint, run)


def test_a_mark_that_is_there_stays(tiny_model: str, few: str, begun: Path) -> None:
    mark = (begun / "groups/shared").read_text()
    with pytest.raises(KvorumError, match="the test says so"):
        in_groups(tiny_model, few, begun, 3, runner=the_last)
    assert (begun / "groups/shared").read_text() == mark
    (begun / "groups/shared").write_text("")
    with pytest.raises(KvorumError, match="the test says so"):
        in_groups(tiny_model, few, begun, 3, runner=the_last)
    assert len((begun / "groups/shared").read_text()) == 32
