"""Studies: read from a file, fitted, gone on with, and skipped where done."""

import dataclasses
import json
import shutil
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from kvorum import KvorumError, cli
from kvorum.engine import BaseModel, load_base
from kvorum.study import Study, describe

SETTINGS = {
    "task": "facts_opposites",
    "evaluate": ["facts_opposites", "facts_sums"],
    "members": 2,
    "rank": 2,
    "epochs": 1,
    "batch_size": 10,
    "lr": 1e-2,
    "train_limit": 20,
    "evaluate_limit": 12,
    "limit_to": "random",
}
RUNS = {"product": None, "none": {"prior": "none", "members": 3}, "untouched": {"members": 1, "epochs": 0}}
SHOWN = {
    "compare": [["product", "none"], ["none", "product"]],
    "report": {"mark": [0, 1], "sizes": [1, 2], "cut_epoch": 1},
}
"""Marks, sizes and a cut that the first run has, and the last has not."""


def written(folder: Path, **changes: object) -> Path:
    file = folder / "study.yaml"
    shown = {} if "runs" in changes else SHOWN
    content = {"out": str(folder / "study"), "settings": SETTINGS, "runs": RUNS} | shown | changes
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    return file


@pytest.fixture(scope="module")
def done(tiny_model: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A study's file and the page that the command line made of it."""
    folder = tmp_path_factory.mktemp("study")
    file = written(folder, settings=SETTINGS | {"model": tiny_model})
    cli.main(["study", str(file)])
    return file, folder / "study" / "report" / "index.html"


def test_one_command_fits_compares_and_writes_one_page_and_each_runs_own(done: tuple[Path, Path]) -> None:
    file, page = done
    study = Study.read(file)
    for name, members in (("product", 2), ("none", 3), ("untouched", 1)):
        run = study.done(name)
        assert run is not None and run.config.members == members
        assert (run.report_folder / "index.html").is_file()
    text = page.read_text(encoding="utf-8")
    assert 'href="../none/report/index.html"' in text and "product" in text
    # What holds for both comparisons is said once.
    assert [number for number in (1, 2) if f'id="comparison-{number}-figures"' in text] == [1, 2]
    assert [number for number in (1, 2) if f'id="comparison-{number}-reading"' in text] == [2]


def test_the_page_holds_the_differences_that_the_predictions_have(done: tuple[Path, Path]) -> None:
    file, page = done
    study = Study.read(file)
    product, none = (study.done(name) for name in ("product", "none"))
    assert product is not None and none is not None
    first = product.predictions(1, "facts_sums").select(members=slice(2))
    second = none.predictions(1, "facts_sums").select(members=slice(2))
    difference = second.nll() - first.nll()
    assert f"{difference:+.3f}".lstrip("+-") in page.read_text(encoding="utf-8")


def test_what_is_done_is_skipped_and_not_touched(
    done: tuple[Path, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import kvorum.posterior.job

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("the model was loaded for runs that are done")

    file, page = done
    monkeypatch.setattr(kvorum.posterior.job, "load_base", fail)
    files = sorted(page.parents[1].glob("*/epochs/*/*.safetensors"))
    before = [each.stat().st_mtime_ns for each in files]
    cli.main(["study", str(file), "--json"])
    said = capsys.readouterr()
    assert said.err.count("done already") == 3
    assert json.loads(said.out)["report"] == str(page)
    assert files and [each.stat().st_mtime_ns for each in files] == before


def test_no_two_base_models_are_held_at_once(tiny_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("bitsandbytes")
    loaded: list[weakref.ref[Any]] = []

    def load(*names: Any, **settings: Any) -> BaseModel:
        assert [one() for one in loaded] == [None] * len(loaded)
        base = load_base(*names, **settings)
        loaded.append(weakref.ref(base.model))
        return base

    monkeypatch.setattr("kvorum.posterior.job.load_base", load)
    runs = {"whole": None, "more": {"members": 1}, "bits": {"quantize": "8bit"}, "fewer": {"quantize": "4bit"}}
    file = written(tmp_path, runs=runs, settings=SETTINGS | {"model": tiny_model, "epochs": 0})
    Study.read(file).run_all()
    assert len(loaded) == 3


def test_what_is_missing_is_scored_again_and_alike(done: tuple[Path, Path]) -> None:
    file, _ = done
    study = Study.read(file)
    run = study.done("none")
    assert run is not None
    before = run.predictions(0, "facts_sums").probs
    run.keep(drop=[run.predictions_file(0, "facts_sums")])
    assert study.done("none") is None and "none: to do" in describe(study)[1]
    runs = study.run_all()
    np.testing.assert_allclose(runs["none"].predictions(0, "facts_sums").probs, before, atol=1e-6)


def test_another_setting_is_refused_by_the_run_that_is_there(done: tuple[Path, Path], tmp_path: Path) -> None:
    file, _ = done
    content = yaml.safe_load(file.read_text())
    content["runs"]["none"]["lr"] = 0.5
    changed = tmp_path / "changed.yaml"
    changed.write_text(yaml.safe_dump(content))
    with pytest.raises(KvorumError, match=r"holds another run: its lr is 0\.01, asked for was 0\.5"):
        Study.read(changed).run_all()


def test_a_run_that_went_further_than_the_study_asks_for_is_not_taken_for_it(
    done: tuple[Path, Path], tmp_path: Path
) -> None:
    file, _ = done
    content = yaml.safe_load(file.read_text())
    content |= {"report": {}, "settings": content["settings"] | {"epochs": 0}}
    changed = tmp_path / "changed.yaml"
    changed.write_text(yaml.safe_dump(content))
    with pytest.raises(KvorumError, match=r"is fitted to epoch 1, and .*changed\.yaml asks for 0: raise its epochs"):
        Study.read(changed).run_all()
    scheduled = content["settings"] | {"epochs": 2, "schedule": "cosine"}
    changed.write_text(yaml.safe_dump(content | {"settings": scheduled}))
    assert Study.read(changed).done("product") is None


def test_an_evaluation_file_that_has_changed_is_scored_again(
    tiny_model: str, tmp_path: Path, question_file: str
) -> None:
    settings = SETTINGS | {"model": tiny_model, "evaluate": ["facts_opposites", question_file], "members": 1}
    file = written(tmp_path, settings=settings, runs={"one": {}})
    study = Study.read(file)
    assert len(study.run_all()["one"].predictions(1, "mine")) == 12
    rows = Path(question_file).read_text().splitlines()
    Path(question_file).write_text("\n".join(rows[:5]) + "\n")
    again = Study.read(file)
    assert again.done("one") is None
    for epoch in (0, 1):
        assert len(again.run_all()["one"].predictions(epoch, "mine")) == 5
    assert Study.read(file).done("one") is not None


def test_runs_that_cannot_be_compared_and_unknown_tasks_are_refused_before_any_is_fitted(tmp_path: Path) -> None:
    settings = SETTINGS | {"model": "no such model"}
    for runs, says in (
        (
            {"a": {}, "b": {"evaluate_limit": 9}},
            "a and b are to be compared, but are scored on other questions of facts_",
        ),
        ({"a": {}, "b": {"evaluate": ["facts_elements"]}}, "a, b are to be compared, but no task is scored in all"),
        ({"a": {}, "b": {"task": "facts_oposites"}}, "did you mean 'facts_opposites'"),
    ):
        study = Study.read(written(tmp_path, settings=settings, runs=runs))
        with pytest.raises(KvorumError, match=says):
            study.run_all()
        with pytest.raises(KvorumError, match=says):
            describe(study)


def test_a_study_with_a_diverged_member_still_gets_its_page(done: tuple[Path, Path], tmp_path: Path) -> None:
    file, _ = done
    folder = tmp_path / "study"
    shutil.copytree(Study.read(file).path, folder)
    study = Study.read(file, out=str(folder))
    run = study.done("product")
    assert run is not None
    for task in ("facts_opposites", "facts_sums"):
        of = run.predictions(1, task).select(members=[1])
        facts = of.facts | {"members": [1], "diverged": {"0": "epoch 1, step 1"}}
        run.save_predictions(1, task, dataclasses.replace(of, facts=facts))
    page = study.report(study.run_all())
    assert "Of each run the first 1 members are compared" in page.read_text(encoding="utf-8")


def test_a_dry_run_says_what_is_left_and_writes_nothing(
    tmp_path: Path, tiny_model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path, settings=SETTINGS | {"model": tiny_model})
    cli.main(["study", str(file), "--dry-run", "--out", str(tmp_path / "elsewhere")])
    assert "none: to do; prior none, members 3" in capsys.readouterr().out
    cli.main(["study", str(file), "--dry-run", "--json", "--out", str(tmp_path / "elsewhere")])
    assert json.loads(capsys.readouterr().out)["none"] == {"done": False}
    assert not (tmp_path / "elsewhere").exists() and not (tmp_path / "study").exists()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"lr": 1}, "no key 'lr' in a study.*settings of the fits stand under 'settings'"),
        ({"setings": {}}, "did you mean 'settings'"),
        ({"runs": {}}, "runs is empty"),
        ({"runs": {"a/b": {}}}, "'a/b' is no name for a run"),
        ({"runs": {"report": {}}}, "'report' is no name for a run"),
        ({"runs": {"a": {"priour": "none"}}}, "run 'a': there is no setting 'priour'; did you mean 'prior'"),
        ({"runs": {"a": {"out": "x"}}}, "run 'a': 'out' is the study's"),
        ({"runs": {"a": {"members": 0}}}, "run 'a': members is 0"),
        ({"compare": [["product", "nome"]]}, "compare names 'nome', which is no run"),
        ({"compare": [["product"]]}, "a comparison needs two runs"),
        ({"report": {"marks": [1]}}, "report.*marks"),
        ({"report": {"mi_cut": -1}}, "mi_cut is -1"),
        ({"report": {"mark": [0, 2]}}, "report names epoch 2, but product has epochs 0 to 1"),
        ({"report": {"cut_epoch": 9}}, "report names epoch 9, but product has epochs 0 to 1"),
        ({"report": {"sizes": [1, 3]}}, "report names a size of 3, but product has 2 members"),
    ],
)
def test_a_mistake_in_any_run_is_named_before_anything_is_fitted(tmp_path: Path, changes: dict, says: str) -> None:
    with pytest.raises(KvorumError, match=says):
        Study.read(written(tmp_path, settings=SETTINGS | {"model": "m"}, **changes))
