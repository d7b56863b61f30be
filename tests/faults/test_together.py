"""Two processes on one run directory, and a run that is not what it was begun as."""

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

import kvorum
from kvorum.cli import main
from kvorum.run import drift, locked
from tests import tiny
from tests.faults.conftest import Fits, contents, stopped_within


def wait_for(file: Path, seconds: float = 30.0) -> None:
    limit = time.monotonic() + seconds
    while not file.exists():
        assert time.monotonic() < limit, f"{file} did not appear"
        time.sleep(0.01)


def test_a_second_process_is_told_which_one_is_at_work_and_a_dead_ones_lock_is_taken_over(fits: Fits) -> None:
    run = fits.new()
    first = fits.begin(run, settings={"epochs": 500}, signals=[(signal.SIGKILL, 3.0)])
    wait_for(run / "epochs" / "001" / "adapters.safetensors")
    holder = json.loads((run / "lock.json").read_text())
    with pytest.raises(
        kvorum.KvorumError, match=rf"process {holder['pid']} \(child\.py, since .*\) is working on this run"
    ):
        kvorum.fit(fits.model, fits.task, out=str(run), epochs=2)
    assert kvorum.Run.open(run).epochs, "reading needs no lock"
    end = fits.end(first)
    assert end.pid == holder["pid"] and end.status == -signal.SIGKILL
    assert (run / "lock.json").exists()
    second = fits.run(run, settings={"epochs": 500}, signals=[(signal.SIGINT, 1.5)])
    assert f"process {end.pid} (child.py" in second.said and "taken over" in second.said
    assert second.status == 130 and "Stopped" in second.said
    assert not (run / "lock.json").exists()


def test_two_that_begin_at_once_do_not_both_fit(fits: Fits, long: bool) -> None:
    if not long:
        pytest.skip("takes a second process that forks; in the long form: make faults")
    other = Fits(fits.new_folder(), given=(fits.model, fits.task))
    try:
        for _ in range(2):
            run = fits.new()
            both = [(one, one.begin(run)) for one in (fits, other)]
            ends = [one.end(said) for one, said in both]
            assert sorted(end.status for end in ends) == [0, 2] or {end.status for end in ends} == {0}
            if {end.status for end in ends} != {0}:
                assert any("is working on this run" in end.said for end in ends)
            assert contents(run) == fits.expected
    finally:
        other.close()


def test_a_lock_says_no_more_than_there_is_to_say(tmp_path: Path) -> None:
    with locked(tmp_path / "run"):
        (tmp_path / "run" / "lock.json").write_text("[")
        with pytest.raises(kvorum.KvorumError, match="another process is working"), locked(tmp_path / "run"):
            pass


DRIFTS: list[tuple[dict[str, Any], str]] = [
    ({"lr": 0.02}, "its lr is 0.01, asked for was 0.02"),
    ({"batch_size": 3}, "its batch_size is 4, asked for was 3"),
    ({"train_limit": 9}, "training questions: was"),
]


@pytest.mark.parametrize(("settings", "says"), DRIFTS)
def test_other_settings_are_refused_and_allowed_ones_recorded(fits: Fits, settings: dict[str, Any], says: str) -> None:
    # Stopped within epoch 2, so that what is saved there must be fit for what follows.
    run = stopped_within(fits, 2)
    before = contents(run)
    end = fits.run(run, settings=settings)
    differs = says if "train_limit" not in settings else "its train_limit is None"
    assert end.status == 2 and differs in end.said and "--allow-drift" in end.said
    assert {name: before[name] for name in before if name != "lock.json"}.items() <= contents(run).items()
    end = fits.run(run, settings={**settings, "allow_drift": True})
    assert end.status == 0, end.said
    opened = kvorum.Run.open(run)
    (entry,) = opened.facts["drift"]
    assert any(differs in one for one in entry["differs"]) and entry["after"].startswith("epoch 2, step")
    assert opened.damage() == [] and opened.epochs == (0, 1, 2)
    assert next(iter(settings.items())) in opened.config.as_dict().items()
    assert fits.run(run, settings=settings).status == 0, "it is what it is from now on"


@pytest.mark.parametrize("settings", [{"rank": 3}, {"members": 3}, {"targets": ["q_proj"]}, {"alpha": 4.0}])
def test_adapters_of_another_shape_cannot_be_gone_on_with_whatever_is_allowed(
    fits: Fits, settings: dict[str, Any]
) -> None:
    run = fits.copy(fits.whole)
    end = fits.run(run, settings={**settings, "allow_drift": True})
    assert end.status == 2 and "cannot go on with adapters of another shape" in end.said
    opened = kvorum.Run.open(run)
    assert contents(run) == fits.expected and "drift" not in opened.facts and opened.config.rank == 2


def test_a_changed_file_tokenizer_or_base_model_is_named(fits: Fits, tmp_path: Path) -> None:
    model, task = tmp_path / "model", tmp_path / "mine.jsonl"
    tiny.save(model, positions=64)
    task.write_text(Path(fits.task).read_text())
    run = tmp_path / "run"
    settings = {"members": 2, "rank": 2, "epochs": 1, "batch_size": 4, "chat": True}

    def fit(**more: Any) -> kvorum.Posterior:
        return kvorum.fit(str(model), str(task), out=str(run), **(settings | more))

    fit()
    task.write_text(task.read_text().replace("no", "nay"))
    with pytest.raises(kvorum.KvorumError, match=r"training questions: was '\w{12}'\.\.\., now '\w{12}'"):
        fit()
    task.write_text(Path(fits.task).read_text())
    template = model / "chat_template.jinja"
    template.write_text(template.read_text().replace("<assistant>", "<answer>"))
    with pytest.raises(kvorum.KvorumError, match=r"base model's revision: was .*; tokenizer: was"):
        fit()
    assert fit(allow_drift=True).facts["epoch"] == 1
    assert len(kvorum.Run.open(run).facts["drift"][0]["differs"]) == 2


def test_a_tokenizer_handed_over_that_has_changed_is_named(fits: Fits, tmp_path: Path) -> None:
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(fits.model)
    tokenizer = transformers.AutoTokenizer.from_pretrained(fits.model)
    settings = {"members": 2, "rank": 2, "epochs": 1, "batch_size": 4, "chat": True, "out": str(tmp_path / "run")}
    kvorum.fit((model, tokenizer), fits.task, **settings)
    kvorum.fit((model, tokenizer), fits.task, **settings)
    tokenizer.chat_template = tokenizer.chat_template.replace("<assistant>", "<answer>")
    with pytest.raises(kvorum.KvorumError, match="another run: tokenizer: was"):
        kvorum.fit((model, tokenizer), fits.task, **settings)
    other = transformers.AutoModelForCausalLM.from_pretrained(str(tiny.save(tmp_path / "other", seed=4, positions=64)))
    other.config.name_or_path = model.config.name_or_path
    with pytest.raises(kvorum.KvorumError, match="base model's revision: was 'given-"):
        kvorum.fit((other, tokenizer), fits.task, **settings)


def test_a_version_that_computes_otherwise_is_refused_and_one_that_rounds_otherwise_recorded(
    fits: Fits, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = fits.copy(fits.whole)
    opened = kvorum.Run.open(run)
    opened.facts["torch"] = "2.11.0"
    opened.save_config()
    end = fits.run(run, settings={"epochs": 3})
    assert end.status == 0 and "torch 2.11.0, now 2." in end.said
    assert kvorum.Run.open(run).facts["drift"][0]["rounding"] == [f"torch 2.11.0, now {opened_torch()}"]
    main(["report", str(run)])
    assert "torch 2.11.0, now" in (run / "report" / "index.html").read_text()
    monkeypatch.setattr("kvorum.posterior.job.RESULTS_VERSION", drift.RESULTS_VERSION + 1)
    with pytest.raises(kvorum.KvorumError, match="version of kvorum's results: was 1, now 2"):
        kvorum.fit(fits.model, fits.task, out=str(run), **{**yaml_settings(run), "epochs": 3})


def opened_torch() -> str:
    import torch

    return str(torch.__version__)


def yaml_settings(run: Path) -> dict[str, Any]:
    settings = yaml.safe_load((run / "config.yaml").read_text())
    return {
        name: value for name, value in settings.items() if name not in ("model", "task", "out", "evaluate", "facts")
    }
