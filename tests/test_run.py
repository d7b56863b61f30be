import json
from pathlib import Path

import numpy as np
import pytest

from kvorum.config import fit_config
from kvorum.errors import KvorumError
from kvorum.predictions import Predictions
from kvorum.run import Point, Run, locked, start_run

CONFIG = fit_config({"model": "m", "task": "t", "members": 2})


def predictions(flip: bool = False) -> Predictions:
    probs = np.array([[[0.9, 0.1], [0.2, 0.8]], [[0.7, 0.3], [0.4, 0.6]]])
    return Predictions(
        probs=probs[:, :, ::-1].copy() if flip else probs,
        rest=np.zeros((2, 2)),
        answers=np.array([0, 1], dtype=np.int64),
        ids=("a", "b"),
        subjects=("", ""),
        questions=("x", "y"),
        choices=(("1", "2"), ("1", "2")),
        facts={"task": "t"},
    )


def start(path: Path) -> Run:
    return start_run(path, CONFIG, {"task": "t", "evaluation_tasks": ["t", "u"]})


def test_numbers_are_kept_and_follow_the_predictions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = start(tmp_path / "run")
    run.save_predictions(0, "t", predictions())
    kept = run.predictions_file(0, "t").with_suffix(".numbers.json")
    assert run.numbers(0, "t")["ensemble"]["accuracy"]["value"] == 1.0
    content = json.loads(kept.read_text())
    content["numbers"]["ensemble"]["accuracy"]["value"] = 0.5
    kept.write_text(json.dumps(content))
    assert run.numbers(0, "t")["ensemble"]["accuracy"]["value"] == 1.0, "what was changed is made again"
    reads = []
    monkeypatch.setattr(Predictions, "load", reads.append)
    assert run.numbers(0, "t")["ensemble"]["accuracy"]["value"] == 1.0 and not reads, "what is kept is read"
    monkeypatch.undo()
    run.save_predictions(0, "t", predictions(flip=True))
    assert run.numbers(0, "t")["ensemble"]["accuracy"]["value"] == 0.0, "but not of other predictions"
    for damaged in ("{", "[]", '{"format": 0}'):
        kept.write_text(damaged)
        assert run.numbers(0, "t")["ensemble"]["accuracy"]["value"] == 0.0


def test_separation_is_from_the_fitted_task_and_follows_both(tmp_path: Path) -> None:
    run = start(tmp_path / "run")
    run.save_predictions(0, "u", predictions())
    assert run.separation(0, "u") is None, "the fitted task is not scored yet"
    run.save_predictions(0, "t", predictions())
    assert run.separation(0, "t") is None
    apart = run.separation(0, "u")
    assert apart is not None and apart["predictive_entropy"]["value"] == 0.5
    assert run.prediction_facts(0, "u") == {"task": "t"}


def test_tasks_stand_in_the_order_asked_for_with_the_rest_after(tmp_path: Path) -> None:
    run = start(tmp_path / "run")
    for task in ("a", "u", "t"):
        run.save_predictions(2, task, predictions())
    assert run.tasks(2) == ("t", "u", "a") and run.tasks(1) == ()


def test_epochs_are_those_with_adapters(tmp_path: Path) -> None:
    run = start(tmp_path / "run")
    with pytest.raises(KvorumError, match="no saved epoch"):
        run.resolve_epochs("last")
    for epoch in (0, 3, 12):
        run.epoch_folder(epoch).mkdir(parents=True)
        run.adapters_file(epoch).touch()
        run.keep(run.adapters_file(epoch))
    run.epoch_folder(13).mkdir()
    run.adapters_file(13).touch()
    assert run.epochs == (0, 3, 12) and run.resolve_epochs("last") == (12,) and run.resolve_epochs("all") == run.epochs
    assert run.resolve_epochs("12,0") == (12, 0)


def test_the_log_counts_up_to_the_last_saved_point(tmp_path: Path) -> None:
    run = start(tmp_path / "run")
    first = [{"epoch": 1, "step": 0}, {"epoch": 1, "step": 1}, {"epoch": 2, "step": 0}]
    run.append_log(first)
    run.keep(*run.flushed_log())
    run.append_log([{"epoch": 2, "step": 1}])
    with (run.path / "log.jsonl").open("a") as file:
        file.write('{"epoch": 2, "st')
    assert Run.open(run.path).log == first
    run.cut_log(Point(1, 1))
    assert Run.open(run.path).log == first and len((run.path / "log.jsonl").read_text().splitlines()) == 3
    run.cut_log(Point(1))
    assert Run.open(run.path).log == first[:2]


def test_what_is_no_run_is_said_with_the_runs_nearby(tmp_path: Path) -> None:
    start(tmp_path / "there")
    with pytest.raises(KvorumError, match="no such directory; runs beside it: there"):
        Run.open(tmp_path / "their")
    (tmp_path / "plain").mkdir()
    with pytest.raises(KvorumError, match="holds no run"):
        Run.open(tmp_path / "plain")
    (tmp_path / "there" / "config.yaml").write_text("model: m\ntask: t\nmembrs: 3\n")
    with pytest.raises(KvorumError, match=r"config.yaml is \d+ bytes long, \d+ were written"):
        Run.open(tmp_path / "there")
    (tmp_path / "there" / "manifest.json").unlink()
    with pytest.raises(KvorumError, match=r"config.yaml: there is no setting 'membrs'"):
        Run.open(tmp_path / "there")


def test_a_lock_is_free_again_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), locked(tmp_path / "run"):
        raise RuntimeError
    with locked(tmp_path / "run"):
        pass


def test_a_file_in_the_way_of_the_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(KvorumError, match="cannot be a run directory"), locked(tmp_path / "file" / "run"):
        pass


@pytest.mark.parametrize(
    ("facts", "says"), [("facts: [1, 2]", "expected 'facts' to hold names and values"), ("facts:", "")]
)
def test_facts_that_are_none_are_no_traceback(tmp_path: Path, facts: str, says: str) -> None:
    (tmp_path / "config.yaml").write_text(f"model: m\ntask: facts_sums\n{facts}\n")
    if says:
        with pytest.raises(KvorumError, match=says):
            Run.open(tmp_path)
    else:
        assert Run.open(tmp_path).facts == {}
