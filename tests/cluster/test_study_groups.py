"""A study whose runs are fitted in groups, in this process: the same as run by run, gone on with, and what fails."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from kvorum import KvorumError, cli
from kvorum.cluster.dispatch import Ended, nothing_more
from kvorum.cluster.fit import one_after_another
from kvorum.cluster.mirror import Mirror
from kvorum.cluster.part import Part
from kvorum.cluster.study import fit_study
from kvorum.cluster.whole import Whole
from kvorum.posterior.progress import Silent
from kvorum.run import Run
from kvorum.study import Study, StudyConfig

SETTINGS: dict[str, Any] = {
    "task": "facts_opposites",
    "evaluate": ["facts_opposites", "facts_sums"],
    "members": 2,
    "rank": 2,
    "epochs": 1,
    "batch_size": 10,
    "lr": 1e-2,
    "train_limit": 20,
    "evaluate_limit": 12,
    "device": "cpu",
}
RUNS: dict[str, dict[str, Any] | None] = {"product": None, "none": {"prior": "none", "members": 3}}


def silent(_: str) -> None:
    """Say nothing."""


HERE = one_after_another(Silent, silent)


class Failing:
    """Fits parts in this process, but those of which a word is in the name; counts what it is given."""

    def __init__(self, word: str) -> None:
        self.word = word
        self.given: list[list[str]] = []

    def __call__(self, parts: Mapping[str, Part], ended: Ended = nothing_more) -> dict[str, str]:
        self.given.append(list(parts))
        HERE({name: part for name, part in parts.items() if self.word not in name}, ended)
        return {name: "no memory" for name in parts if self.word in name}


def study(model: str, out: Path, runs: dict[str, Any] | None = None, **settings: Any) -> Study:
    both = SETTINGS | {"model": model} | settings
    return Study(StudyConfig(out=str(out), settings=both, runs=runs or RUNS))


@pytest.fixture(scope="module")
def plain(tiny_model: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """The runs, fitted one after the other."""
    return study(tiny_model, tmp_path_factory.mktemp("plain")).run_all()


def same(ours: Run, theirs: Run) -> None:
    """Assert that every file is the same, bit for bit."""
    names = {name for name in theirs.manifest.files if name != "config.yaml"}
    assert {name for name in ours.manifest.files if name != "config.yaml"} == names
    assert [name for name in names if ours.manifest.files[name] != theirs.manifest.files[name]] == []


def test_all_members_of_a_run_in_one_group_are_the_run_bit_for_bit(
    tiny_model: str, tmp_path: Path, plain: dict[str, Run]
) -> None:
    given = Failing("nothing of that name")
    runs = fit_study(study(tiny_model, tmp_path), given, told=silent)
    assert given.given == [["product: members 0-1", "none: members 0-2"]]
    assert list(runs) == ["product", "none"]
    for name, run in runs.items():
        same(run, plain[name])
        assert run.damage() == [] and not (run.path / "groups").exists()


def test_what_failed_is_named_once_what_is_done_is_kept_and_the_rest_is_fitted_again(
    tiny_model: str, tmp_path: Path
) -> None:
    asked, lines = study(tiny_model, tmp_path), []
    with pytest.raises(KvorumError) as failed:
        fit_study(asked, Failing("none: member"), per_worker=1, told=lines.append)
    said = str(failed.value)
    assert "1 of 2 runs are not done, the others are kept" in said and said.count("no memory") == 1
    assert any(line.startswith("product: done") for line in lines)
    product = asked.done("product")
    assert product is not None and asked.done("none") is None
    before = (product.path / "manifest.json").stat().st_mtime_ns
    again = Failing("nothing of that name")
    runs = fit_study(study(tiny_model, tmp_path), again, per_worker=1, told=silent)
    assert again.given == [["none: member 0", "none: member 1", "none: member 2"]]
    assert runs["none"].config.members == 3 and (product.path / "manifest.json").stat().st_mtime_ns == before


def test_a_run_is_joined_as_soon_as_its_groups_are_done(tiny_model: str, tmp_path: Path) -> None:
    asked = study(tiny_model, tmp_path)

    def dying(parts: Mapping[str, Part], ended: Ended = nothing_more) -> dict[str, str]:
        HERE({name: part for name, part in parts.items() if name != "none: member 2"}, ended)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_study(asked, dying, per_worker=1, told=silent)
    assert asked.done("product") is not None and asked.done("none") is None
    # The groups that are there say how many members they have.
    again = Failing("nothing of that name")
    assert fit_study(asked, again, told=silent)["none"].epochs == (0, 1)
    assert again.given == [["none: member 0", "none: member 1", "none: member 2"]]


def test_a_group_that_is_whole_but_cannot_be_joined_is_a_failure_of_its_run(tiny_model: str, tmp_path: Path) -> None:
    asked = study(tiny_model, tmp_path, {"wild": {"lr": 1e30}, "tame": {}})
    with pytest.raises(KvorumError, match=r"1 of 2 runs are not done.*wild: every member diverged"):
        fit_study(asked, HERE, per_worker=1, told=silent)
    assert asked.done("tame") is not None


def test_a_run_waits_for_the_one_that_it_starts_from(tiny_model: str, tmp_path: Path) -> None:
    runs = {"next": {"warm_start": str(tmp_path / "first")}, "first": {}, "beside": {}}
    asked = study(tiny_model, tmp_path, runs)
    given = Failing("first")
    with pytest.raises(KvorumError, match=r"2 of 3 runs.*first, which it starts from, is not done"):
        fit_study(asked, given, told=silent)
    assert given.given == [["first: members 0-1", "beside: members 0-1"]]
    given.word = "nothing of that name"
    assert list(fit_study(asked, given, told=silent)) == ["next", "first", "beside"]
    assert given.given[1:] == [["first: members 0-1"], ["next: members 0-1"]]
    circle = {"a": {"warm_start": str(tmp_path / "b")}, "b": {"warm_start": str(tmp_path / "a")}}
    with pytest.raises(KvorumError, match="a, b start from each other"):
        fit_study(study(tiny_model, tmp_path, circle), given, told=silent)


def test_what_cannot_be_fitted_is_refused_before_any_run_is_begun(tiny_model: str, tmp_path: Path) -> None:
    given = Failing("")
    for runs, settings, says in (
        ({"a": {}, "b": {"targets": ["nowhere"]}}, {}, "nowhere"),
        ({"a": {}, "b": {"evaluate_limit": 9}}, {}, "scored on other questions"),
        ({"a": {}}, {"track": ["tensorboard"]}, "trackers are told by a fit in one process"),
    ):
        with pytest.raises(KvorumError, match=says):
            fit_study(study(tiny_model, tmp_path / "out", runs, **settings), given, told=silent)
    with pytest.raises(KvorumError, match="a folder that all of them share, not at a URL"):
        fit_study(Study(StudyConfig(out="s3://bucket/x", settings=SETTINGS | {"model": "m"}, runs=RUNS)), given)
    assert given.given == [] and not (tmp_path / "out").exists()


def test_a_run_of_other_questions_is_refused_though_it_is_complete(tiny_model: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    row = '{{"id": "{0}", "question": "{0}{1}?", "choices": ["a", "b"], "answer": 0}}\n'
    file.write_text("".join(row.format(i, "") for i in range(12)))
    settings = {"task": str(file), "evaluate": ["facts_sums"], "epochs": 0}
    fit_study(study(tiny_model, tmp_path / "out", {"one": {}}, **settings), HERE, told=silent)
    file.write_text("".join(row.format(i, " not") for i in range(12)))
    with pytest.raises(KvorumError, match="holds another run: training questions"):
        fit_study(study(tiny_model, tmp_path / "out", {"one": {}}, **settings), HERE, told=silent)


@pytest.mark.slow
def test_the_command_fits_in_groups_without_a_cluster_and_writes_the_page(
    tiny_model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "study.yaml"
    settings = "\n".join(f"  {name}: {value}" for name, value in (SETTINGS | {"model": tiny_model}).items())
    file.write_text(f"out: {tmp_path / 'out'}\nsettings:\n{settings}\nruns:\n  one: {{}}\n")
    cli.main(["study", str(file), "--members-per-worker", "1"])
    said = capsys.readouterr()
    assert "one: member 1: group 2 of 2" in said.err and "one: done, in" in said.err
    assert Path(said.out.strip()).is_file()


def test_a_disk_that_fails_while_one_run_is_joined_is_a_failure_of_that_run(
    tiny_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, real = study(tiny_model, tmp_path, {"first": {}, "second": {}}), Whole.join

    def join(self: Whole, *rest: Any) -> Run:
        if self.folder.name == "first":
            raise OSError(28, "No space left on device")
        return real(self, *rest)

    monkeypatch.setattr(Whole, "join", join)
    with pytest.raises(KvorumError, match=r"1 of 2 runs are not done.*first: .*No space left"):
        fit_study(asked, HERE, told=silent)
    assert asked.done("second") is not None


def test_a_group_whose_storage_fails_does_not_end_the_others(
    tiny_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, real = study(tiny_model, tmp_path, {"first": {}, "second": {}}), Mirror.take_up

    def take_up(self: Mirror) -> None:
        if "first" in str(self.storage):
            raise OSError(5, "the storage is gone")
        real(self)

    monkeypatch.setattr(Mirror, "take_up", take_up)
    with pytest.raises(KvorumError, match=r"1 of 2 runs are not done.*the storage is gone"):
        fit_study(asked, HERE, told=silent)
    assert asked.done("second") is not None
