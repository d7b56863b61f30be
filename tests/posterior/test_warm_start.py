"""Going on from a posterior."""

from pathlib import Path
from typing import Any

import pytest
import torch

import kvorum
from kvorum.adapters import AdapterStack
from kvorum.cli import main
from kvorum.config import fit_config
from kvorum.report.ran import essentials
from kvorum.run import run_and_epoch
from kvorum.run.drift import differing_facts, identity
from tests import tiny
from tests.posterior.test_fit import StopAfter, files, fit


def parameters(run: Path, epoch: int) -> list[torch.Tensor]:
    return list(AdapterStack.load(run / f"epochs/{epoch:03d}/adapters.safetensors").parameters())


def same(one: list[torch.Tensor], two: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


@pytest.fixture
def first(tiny_model: str, question_file: str, tmp_path: Path) -> Path:
    fit(tiny_model, question_file, out=str(tmp_path / "first"))
    return tmp_path / "first"


@pytest.fixture
def more_questions(tmp_path: Path) -> str:
    file = tmp_path / "more.csv"
    rows = [f"m{i},How many is {i} and one?,{i},{i + 1},{i + 2},b" for i in range(7)]
    file.write_text("\n".join(["id,question,choice_0,choice_1,choice_2,answer", *rows]) + "\n")
    return str(file)


def test_members_start_where_the_other_run_ended(
    tiny_model: str, more_questions: str, first: Path, tmp_path: Path
) -> None:
    warm = tmp_path / "warm"
    fit(tiny_model, more_questions, out=str(warm), warm_start=str(first))
    assert same(parameters(warm, 0), parameters(first, 2))
    assert not same(parameters(warm, 2), parameters(warm, 0))
    earlier = tmp_path / "earlier"
    fit(tiny_model, more_questions, out=str(earlier), warm_start=str(first / "epochs/001"), epochs=0)
    assert same(parameters(earlier, 0), parameters(first, 1))
    assert run_and_epoch(first / "epochs/001") == (first, 1)
    assert run_and_epoch(first) == (first, None)


def test_without_a_run_directory_the_other_run_is_left_as_it_was(
    tiny_model: str, more_questions: str, first: Path
) -> None:
    before = files(first)
    posterior = fit(tiny_model, more_questions, warm_start=str(first))
    assert not same(list(posterior.stack.parameters()), parameters(first, 2))
    assert files(first) == before


def test_what_both_were_fitted_on_is_known_as_fitted_on(
    tiny_model: str, question_file: str, more_questions: str, first: Path, tmp_path: Path
) -> None:
    posterior = fit(tiny_model, more_questions, warm_start=str(first), out=str(tmp_path / "warm"))
    for one in (posterior, kvorum.load(tmp_path / "warm")):
        for name, count in ((question_file, 20), (more_questions, 7)):
            assert one.predict(name).facts["trained_on_questions"] == count


def test_a_warm_fit_that_was_stopped_goes_on_to_the_same_files_though_the_other_run_has_moved_on(
    tiny_model: str, question_file: str, more_questions: str, first: Path, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"warm_start": str(first)}
    fit(tiny_model, more_questions, out=str(tmp_path / "whole"), **settings)
    with pytest.raises(RuntimeError, match="plug"):
        fit(tiny_model, more_questions, out=str(tmp_path / "torn"), progress=StopAfter(4), **settings)
    fit(tiny_model, question_file, out=str(first), epochs=3)
    fit(tiny_model, more_questions, out=str(tmp_path / "torn"), **settings)
    assert files(tmp_path / "torn") == files(tmp_path / "whole")


def test_it_goes_on_though_the_other_run_is_gone(
    tiny_model: str, more_questions: str, first: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings: dict[str, Any] = {"warm_start": str(first), "out": str(tmp_path / "warm")}
    fit(tiny_model, more_questions, epochs=1, **settings)
    first.rename(tmp_path / "elsewhere")
    fit(tiny_model, more_questions, epochs=2, **settings)
    assert "going on from what" in caplog.text
    assert (tmp_path / "warm/epochs/002/adapters.safetensors").is_file()


@pytest.mark.parametrize("before", [True, False])
def test_a_run_from_another_start_is_refused(
    tiny_model: str, question_file: str, first: Path, tmp_path: Path, before: bool
) -> None:
    out = tmp_path / "run"
    warm = {"warm_start": str(first)}
    fit(tiny_model, question_file, out=str(out), epochs=0, **(warm if before else {}))
    with pytest.raises(kvorum.KvorumError, match="posterior that it started from: was"):
        fit(tiny_model, question_file, out=str(out), epochs=0, **({} if before else warm))


def test_a_run_from_before_there_was_a_warm_start_is_one_from_the_prior() -> None:
    facts = {"start_digest": None}
    assert differing_facts({}, facts) == []
    assert differing_facts({}, {"start_digest": "a"}) and differing_facts({"start_digest": "a"}, facts)
    config = fit_config({"model": "m", "task": "t"}, where="test")
    assert identity(config, {}) == identity(config, facts) != identity(config, {"start_digest": "a"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"members": 3}, "has members 2, asked for was 3; say --members 2"),
        ({"rank": 4}, "has rank 2, asked for was 4"),
        ({"alpha": 8.0}, r"has alpha 4\.0, asked for was 8\.0"),
        ({"targets": ("q_proj",)}, "has adapters on other modules"),
        ({"warm_start": "nowhere"}, "nowhere"),
        ({"warm_start": "{first}/epochs/009"}, "no epoch 9|epoch 9"),
        ({"out": "{first}"}, "are the same run"),
    ],
)
def test_what_cannot_be_gone_on_from_is_refused(
    tiny_model: str, question_file: str, first: Path, change: dict[str, Any], message: str
) -> None:
    change = {k: v.format(first=first) if isinstance(v, str) else v for k, v in change.items()}
    with pytest.raises(kvorum.KvorumError, match=message):
        fit(tiny_model, question_file, **({"warm_start": str(first), "epochs": 0} | change))


def test_another_base_model_is_refused(question_file: str, first: Path, tmp_path: Path) -> None:
    other = str(tiny.save(tmp_path / "other", seed=5))
    with pytest.raises(kvorum.KvorumError, match="was fitted on another base model"):
        fit(other, question_file, warm_start=str(first), epochs=0)


def test_on_the_command_line_what_must_be_as_in_the_other_run_is_taken_over(
    more_questions: str, first: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, flag in enumerate((["--warm-start", str(first)], [f"--warm_start={first}/epochs/001"])):
        out = tmp_path / f"warm{number}"
        main(["fit", "--task", more_questions, *flag, "--epochs", "1", "--out", str(out)])
        assert same(parameters(out, 0), parameters(first, 2 - number))
    file = tmp_path / "fit.yaml"
    file.write_text(f"task: {more_questions}\nwarm_start: {first}\nout: {tmp_path / 'yaml'}\nepochs: 0\n")
    main(["fit", str(file)])
    assert same(parameters(tmp_path / "yaml", 0), parameters(first, 2))
    capsys.readouterr()
    with pytest.raises(SystemExit, match="2"):
        main(
            ["fit", "--task", more_questions, "--warm-start", str(first), "--rank", "3", "--out", str(tmp_path / "no")]
        )
    assert "has rank 2, asked for was 3" in " ".join(capsys.readouterr().err.split())


def test_another_answer_format_is_said(
    tiny_model: str, question_file: str, first: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fit(tiny_model, question_file, warm_start=str(first), answer_format="letter", epochs=0)
    assert "was fitted by text, and goes on by letter" in caplog.text


def test_a_base_that_is_held_otherwise_is_said(
    tiny_model: str, question_file: str, first: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("bitsandbytes")
    fit(tiny_model, question_file, warm_start=str(first), quantize="8bit", epochs=0)
    assert "was fitted with quantize off, and goes on with 8bit" in caplog.text


def test_runs_that_have_gone_on_from_each_other_in_turn_know_what_both_were_fitted_on(
    tiny_model: str, question_file: str, more_questions: str, first: Path, tmp_path: Path
) -> None:
    second = tmp_path / "second"
    fit(tiny_model, more_questions, out=str(second), warm_start=str(first), epochs=0)
    first.rename(tmp_path / "aside")
    fit(tiny_model, question_file, out=str(first), warm_start=str(second), epochs=0)
    assert len(kvorum.load(first).fitted_on) == len(kvorum.load(second).fitted_on) == 27


def test_questions_that_have_changed_since_are_said(
    question_file: str, first: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kvorum.load(first)
    assert "no longer those" not in caplog.text
    file = Path(question_file)
    file.write_text(file.read_text().replace("Which is 3?", "Which is three?"))
    kvorum.load(first)
    assert "are no longer those that it was fitted on" in caplog.text


def test_in_memory_no_run_directory_matters(
    tiny_model: str, question_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    fit(tiny_model, question_file, out="runs/mine")
    posterior = fit(tiny_model, question_file, warm_start="runs/mine", epochs=0)
    assert same(list(posterior.stack.parameters()), parameters(Path("runs/mine"), 2))


def test_however_its_path_is_spelled_it_goes_on_from_the_epoch_it_was_begun_with(
    tiny_model: str,
    question_file: str,
    more_questions: str,
    first: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    warm = str(tmp_path / "warm")
    fit(tiny_model, more_questions, out=warm, warm_start=str(first), epochs=1)
    fit(tiny_model, question_file, out=str(first), epochs=3)
    monkeypatch.chdir(tmp_path)
    fit(tiny_model, more_questions, out=warm, warm_start="first", epochs=2)
    assert (tmp_path / "warm/epochs/002/adapters.safetensors").is_file()


def test_a_repair_goes_on_from_the_epoch_it_was_begun_with_though_its_configuration_is_lost(
    tiny_model: str, question_file: str, more_questions: str, first: Path, tmp_path: Path
) -> None:
    warm = tmp_path / "warm"
    fit(tiny_model, more_questions, out=str(warm), warm_start=str(first))
    before = files(warm)
    fit(tiny_model, question_file, out=str(first), epochs=3)
    (warm / "config.yaml").write_text("model: other")
    (warm / "epochs/001/adapters.safetensors").unlink()
    fit(tiny_model, more_questions, out=str(warm), warm_start=str(first), repair=True)
    assert files(warm) == before


def test_the_page_says_that_epoch_0_is_not_the_untouched_model(
    tiny_model: str, more_questions: str, first: Path, tmp_path: Path
) -> None:
    warm = str(tmp_path / "warm")
    fit(tiny_model, more_questions, out=warm, warm_start=str(first), epochs=0)
    said = dict(essentials(kvorum.Run.open(warm), []))
    assert said["goes on from"] == f"{first}, epoch 2; epoch 0 is that, not the untouched model"
    assert "goes on from" not in dict(essentials(kvorum.Run.open(first), []))
