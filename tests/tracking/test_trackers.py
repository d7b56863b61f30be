"""Each tracker's store, read back by its own reader, against the run's log and numbers."""

import importlib.util
import os
import subprocess
import sys
import types
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kvorum
from kvorum.config import fit_config
from kvorum.errors import KvorumError
from kvorum.posterior.progress import Silent
from kvorum.run import Run

SETTINGS: dict[str, Any] = {"members": 2, "rank": 2, "epochs": 2, "batch_size": 6, "save_minutes": 0}
Points = dict[str, list[tuple[int, float]]]


class StopAfter(Silent):
    """Pulls the plug after some steps, as a crash would."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def steps(self, lines: Any) -> None:
        self.left -= len(lines)
        if self.left < 0:
            raise RuntimeError("the plug was pulled")


def fit(model: str, questions: str, out: Path | None, *track: str, **more: Any) -> None:
    settings = SETTINGS | {"evaluate": (questions, "facts_capitals"), "evaluate_limit": 6, "track": track} | more
    kvorum.fit(model, questions, **settings, **({} if out is None else {"out": str(out)}))


def expected(path: Path) -> Points:
    """What a tracker must hold of a run, from the run's own files."""
    run = Run.open(path)
    found: Points = defaultdict(list)
    ends = {0: 0}
    for step, line in enumerate(run.log, 1):
        ends[line["epoch"]] = step
        for name in ("loss", "nll", "penalty", "gradient_norm"):
            for member, value in enumerate(line[name]):
                if value is not None:
                    found[f"{name}/member-{member}"].append((step, value))
        found["lr"].append((step, line["lr"]))
        found["tokens"].append((step, line["tokens"]))
    for epoch in run.epochs:
        for task in run.tasks(epoch):
            numbers, step = run.numbers(epoch, task), ends[epoch]
            for name in ("accuracy", "nll", "ece", "brier"):
                found[f"{task}/{name}"].append((step, numbers["ensemble"][name]["value"]))
            for name in ("predictive_entropy", "expected_entropy", "mutual_information"):
                found[f"{task}/{name}"].append((step, numbers[name]["all"]["mean"]["value"]))
            aurocs = {"wrong_auroc": numbers["wrong_auroc"], "separation_auroc": run.separation(epoch, task) or {}}
            for kind, of_kind in aurocs.items():
                for name, interval in of_kind.items():
                    if interval["value"] is not None:
                        found[f"{task}/{kind}/{name}"].append((step, interval["value"]))
    return found


def same(there: Points, run: Path, dtype: Any = np.float64) -> None:
    wanted = expected(run)
    assert {"mine/accuracy", "facts_capitals/separation_auroc/mutual_information", "loss/member-1"} <= wanted.keys()
    assert there.keys() == wanted.keys()
    for name, points in wanted.items():
        steps, values = zip(*sorted(there[name]), strict=True)
        assert steps == tuple(step for step, _ in sorted(points)), name
        assert np.array_equal(dtype(values), dtype([value for _, value in sorted(points)])), name


def tensorboard_points(folder: Path) -> Points:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


@pytest.fixture
def mlflow_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    mlflow = pytest.importorskip("mlflow")
    return mlflow.MlflowClient()


def mlflow_runs(client: Any) -> list[Any]:
    return client.search_runs([client.get_experiment_by_name("kvorum").experiment_id])


def mlflow_points(client: Any, run: Any) -> Points:
    return {
        name: [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, name)] for name in run.data.metrics
    }


def test_tensorboard_holds_every_step_and_score_once_also_of_a_fit_that_was_stopped_twice(
    tiny_model: str, question_file: str, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    for steps in (2, 4):  # within the first epoch, within the second
        with pytest.raises(RuntimeError, match="plug"):
            fit(tiny_model, question_file, out, "tensorboard", progress=StopAfter(steps))
    fit(tiny_model, question_file, out, "tensorboard")
    same(tensorboard_points(out / "tensorboard"), out, np.float32)
    Run.open(out)  # nothing in it leads out of it


def test_steps_after_the_last_saved_point_are_taken_back_and_written_once(
    tiny_model: str, question_file: str, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    with pytest.raises(RuntimeError, match="plug"):
        fit(tiny_model, question_file, out, "tensorboard", progress=StopAfter(6), save_minutes=60)
    told = tensorboard_points(out / "tensorboard")["tokens"]
    assert len(told) == 6 and len(Run.open(out).log) == 4
    fit(tiny_model, question_file, out, "tensorboard", save_minutes=60)
    same(tensorboard_points(out / "tensorboard"), out, np.float32)


def test_a_tracker_that_is_named_later_is_told_what_came_before(
    tiny_model: str, question_file: str, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    fit(tiny_model, question_file, out)
    fit(tiny_model, question_file, out, "tensorboard")
    same(tensorboard_points(out / "tensorboard"), out, np.float32)
    fit(tiny_model, question_file, out, "tensorboard")  # nothing is left to tell
    same(tensorboard_points(out / "tensorboard"), out, np.float32)


def test_mlflow_goes_on_with_the_same_run_and_holds_the_settings(
    tiny_model: str, question_file: str, tmp_path: Path, mlflow_store: Any
) -> None:
    out = tmp_path / "run"
    with pytest.raises(RuntimeError, match="plug"):
        fit(tiny_model, question_file, out, "mlflow", progress=StopAfter(3))
    (stopped,) = mlflow_runs(mlflow_store)
    assert stopped.info.status == "KILLED" and stopped.info.run_name == "run"
    fit(tiny_model, question_file, out, "mlflow")
    (run,) = mlflow_runs(mlflow_store)
    assert run.info.status == "FINISHED"
    same(mlflow_points(mlflow_store, run), out)
    assert run.data.params["members"] == "2" and run.data.params["diversity"] == "initialisation order"
    assert "out" not in run.data.params
    fit(tiny_model, question_file, out, "mlflow", epochs=3)
    (run,) = mlflow_runs(mlflow_store)
    same(mlflow_points(mlflow_store, run), out)
    assert run.data.params["epochs"] == "2" and run.data.tags["kvorum.now.epochs"] == "3"


def test_two_runs_stay_apart_and_a_fit_in_memory_is_tracked_too(
    tiny_model: str, question_file: str, tmp_path: Path, mlflow_store: Any
) -> None:
    for name in ("one", "two"):
        fit(tiny_model, question_file, tmp_path / name, "mlflow", epochs=1)
    fit(tiny_model, question_file, None, "mlflow", epochs=1)
    runs = {run.info.run_name: run for run in mlflow_runs(mlflow_store)}
    assert runs.keys() == {"one", "two", "mine"}
    same(mlflow_points(mlflow_store, runs["two"]), tmp_path / "two")
    assert mlflow_points(mlflow_store, runs["mine"])["tokens"] == mlflow_points(mlflow_store, runs["one"])["tokens"]


class Broken:
    """A tracker that fails at some step, once."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.told: list[int] = []
        self.finished: list[bool] = []

    def start(self, run: Any) -> int:
        return run.held

    def log(self, scalars: Any, step: int) -> None:
        if step == self.at and "tokens" in scalars:
            raise ConnectionError("no route to host")
        self.told.append(step)

    def finish(self, ok: bool) -> None:
        self.finished.append(ok)
        raise ConnectionError("still none")


def test_a_tracker_that_fails_is_warned_of_once_and_the_fit_ends_well(
    tiny_model: str,
    question_file: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    from kvorum.posterior import tracked
    from kvorum.tracking import tracker

    broken, out = Broken(at=3), tmp_path / "run"
    monkeypatch.setattr(tracked, "tracker", lambda name: broken if name == "trackio" else tracker(name))
    monkeypatch.setattr("kvorum.posterior.job.refuse_missing", lambda names: None)
    fit(tiny_model, question_file, out, "trackio", "tensorboard")
    warned = [r.message for r in caplog.records if r.levelname == "WARNING" and "trackio" in r.message]
    assert len([w for w in warned if "no route to host" in w]) == 1 and len(warned) == 2
    assert broken.told[-1] == 2 and broken.finished == [False]
    assert Run.open(out).epochs == (0, 1, 2)
    same(tensorboard_points(out / "tensorboard"), out, np.float32)  # the other one is told all
    broken.at = -1
    fit(tiny_model, question_file, out, "trackio")
    each = [step for step in broken.told if step]
    assert sorted(set(each)) == list(range(1, 9)), "what it has missed is told later"


def of_our_own(monkeypatch: pytest.MonkeyPatch, one: Any) -> None:
    """Let `--track trackio` stand for this tracker."""
    monkeypatch.setattr("kvorum.posterior.tracked.tracker", lambda name: one)
    monkeypatch.setattr("kvorum.posterior.job.refuse_missing", lambda names: None)


class Counting(Broken):
    """Fails once, before some step; notes every step and every id."""

    def __init__(self, at: int) -> None:
        super().__init__(at)
        self.ids: list[str] = []
        self.fail_at_start = False

    def start(self, run: Any) -> int:
        self.ids.append(run.id)
        if self.fail_at_start:
            raise ConnectionError("not yet")
        return run.held

    def log(self, scalars: Any, step: int) -> None:
        super().log(scalars, step)
        if "tokens" not in scalars:
            self.told.pop()

    def finish(self, ok: bool) -> None:
        pass


def test_a_failure_while_catching_up_loses_no_id_and_tells_nothing_twice(
    tiny_model: str, question_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    fit(tiny_model, question_file, out)
    one = Counting(at=6)
    of_our_own(monkeypatch, one)
    one.fail_at_start = True
    with pytest.raises(KvorumError, match="not yet"):
        fit(tiny_model, question_file, out, "trackio")
    one.fail_at_start = False
    fit(tiny_model, question_file, out, "trackio")
    assert one.told == [1, 2, 3, 4, 5]
    one.at = -1
    fit(tiny_model, question_file, out, "trackio")
    assert one.told == [1, 2, 3, 4, 5, 6, 7, 8] and len(set(one.ids)) == 1


def test_a_drift_to_other_batches_renumbers_no_step(
    tiny_model: str, question_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    fit(tiny_model, question_file, out, "tensorboard", epochs=1)
    fit(tiny_model, question_file, out, "tensorboard", epochs=3, batch_size=3, allow_drift=True)
    same(tensorboard_points(out / "tensorboard"), out, np.float32)
    one = Counting(at=-1)
    of_our_own(monkeypatch, one)
    fit(tiny_model, question_file, out, "trackio", epochs=3, batch_size=3, allow_drift=True)
    each = Run.open(out).facts["steps_per_epoch"]
    assert one.told == list(range(1, 4 + 2 * each + 1)) and each > 4


def test_mlflow_catches_up_in_few_requests(
    tiny_model: str, question_file: str, tmp_path: Path, mlflow_store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    fit(tiny_model, question_file, out)
    sent: list[int] = []
    kept = type(mlflow_store).log_batch

    def log_batch(self: Any, run_id: str, metrics: Any = (), **rest: Any) -> Any:
        sent.append(len(metrics))
        return kept(self, run_id, metrics=metrics, **rest)

    monkeypatch.setattr(type(mlflow_store), "log_batch", log_batch)
    monkeypatch.setattr("kvorum.tracking.mlflow.MLflow.at_once", 30)
    fit(tiny_model, question_file, out, "mlflow")
    # Ten numbers a step: three steps a request, where each was a request before.
    assert [number for number in sent if number % 10 == 0 and number] == [30, 30, 20]
    (run,) = mlflow_runs(mlflow_store)
    same(mlflow_points(mlflow_store, run), out)


def test_a_server_that_is_gone_is_not_waited_for_for_minutes(
    tiny_model: str, question_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow")
    from kvorum.tracking.mlflow import MLflow

    asked: list[tuple[str | None, str | None]] = []

    class Gone:
        def log_batch(self, *_: Any, **__: Any) -> None:
            names = ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT")
            asked.append((os.environ.get(names[0]), os.environ.get(names[1])))
            raise ConnectionError("gone")

        def set_terminated(self, *_: Any) -> None:
            pytest.fail("it is waited for once more")

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "77")
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", raising=False)
    tracker = MLflow()
    tracker.client, tracker.entities = Gone(), mlflow.entities
    with pytest.raises(ConnectionError):
        tracker.log({"a": 1.0}, 1)
    tracker.finish(ok=False)
    assert asked == [("2", "77")] and "MLFLOW_HTTP_REQUEST_MAX_RETRIES" not in os.environ


def test_a_default_store_without_its_package_is_said_with_both_ways_out(
    tiny_model: str, question_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow")
    if importlib.util.find_spec("sqlalchemy") is not None:
        pytest.skip("SQLAlchemy is here")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    with pytest.raises(KvorumError, match=r"(?s)SQLAlchemy.*MLFLOW_TRACKING_URI.*MLFLOW_ALLOW_FILE_STORE"):
        fit(tiny_model, question_file, tmp_path / "run", "mlflow")


def test_a_tracker_that_cannot_be_started_is_said_before_anything_is_computed(
    tiny_model: str, question_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nowhere://at/all")
    with pytest.raises(KvorumError, match="mlflow cannot be started"):
        fit(tiny_model, question_file, tmp_path / "run", "mlflow")
    assert Run.open(tmp_path / "run").epochs == ()


def test_a_missing_package_is_named_with_how_to_install_it(
    tiny_model: str, question_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(KvorumError, match=r"pip install wandb, .* 'kvorum\[track\]'"):
        fit(tiny_model, question_file, None, "wandb")


def test_a_state_that_is_damaged_is_named(tiny_model: str, question_file: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    fit(tiny_model, question_file, out, "tensorboard", epochs=0)
    (out / "tracking" / "tensorboard.json").write_text('{"id": "../../x", "steps": 0, "scores": []}')
    with pytest.raises(KvorumError, match=r"tensorboard\.json: cannot be read"):
        fit(tiny_model, question_file, out, "tensorboard", epochs=0)


def test_the_command_and_a_yaml_file_name_trackers(tiny_model: str, question_file: str, tmp_path: Path) -> None:
    from kvorum.cli import main

    asked = ["--model", tiny_model, "--task", question_file, "--members", "2", "--epochs", "1", "--evaluate-limit", "4"]
    main(["fit", *asked, "--out", str(tmp_path / "run"), "--track", "tensorboard"])
    assert len(tensorboard_points(tmp_path / "run" / "tensorboard")["mine/nll"]) == 2
    assert fit_config({"model": "m", "task": "t", "track": "mlflow"}).track == ("mlflow",)
    assert fit_config({"model": "m", "task": "t", "track": ["mlflow", "wandb"]}).track == ("mlflow", "wandb")


def test_no_tracker_is_named_twice_and_none_that_there_is_not(tiny_model: str, question_file: str) -> None:
    with pytest.raises(KvorumError, match="track names something twice"):
        fit(tiny_model, question_file, None, "mlflow", "mlflow")
    with pytest.raises(KvorumError, match="tensorbord"):
        fit(tiny_model, question_file, None, "tensorbord")


class FakeWandb:
    """As much of wandb as is used, in memory."""

    def __init__(self) -> None:
        self.runs: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.config: dict[str, Any] = {}
        self.module = types.ModuleType("wandb")
        self.module.init, self.module.Settings = self.init, dict  # type: ignore[attr-defined]

    def init(self, *, id: str, resume: str, **rest: Any) -> Any:
        assert resume == "allow" and rest["project"] == "kvorum"
        rows = self.runs[id]
        return types.SimpleNamespace(
            config=types.SimpleNamespace(update=lambda new, allow_val_change: self.config.update(new)),
            define_metric=lambda name, **_: None,
            log=rows.append,
            finish=lambda exit_code: rows.append({"exit": exit_code}),
        )


def test_wandb_goes_on_under_the_same_id(
    tiny_model: str, question_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake, out = FakeWandb(), tmp_path / "run"
    monkeypatch.setitem(sys.modules, "wandb", fake.module)
    monkeypatch.setattr("kvorum.posterior.job.refuse_missing", lambda names: None)
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    with pytest.raises(RuntimeError, match="plug"):
        fit(tiny_model, question_file, out, "wandb", progress=StopAfter(3))
    fit(tiny_model, question_file, out, "wandb")
    (rows,) = fake.runs.values()
    assert [row["exit"] for row in rows if "exit" in row] == [1, 0]
    there: Points = defaultdict(list)
    for row in rows:
        for name, value in row.items():
            if name not in {"step", "exit"}:
                there[name].append((row["step"], value))
    same(there, out)
    assert fake.config["members"] == 2


@pytest.mark.slow
def test_wandb_itself_takes_it_offline(
    tiny_model: str, question_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("WANDB_SILENT", "true")
    fit(tiny_model, question_file, tmp_path / "run", "wandb", epochs=1)
    (file,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    content = file.read_bytes()
    assert b"mine/mutual_information" in content and b"gradient_norm/member-1" in content
    Run.open(tmp_path / "run")


@pytest.mark.slow
def test_trackio_s_local_store_holds_every_step_and_score_once(
    tiny_model: str, question_file: str, tmp_path: Path
) -> None:
    pytest.importorskip("trackio")
    # In a process of its own, since its folder is fixed when it is imported.
    code = f"""
import kvorum, sys
sys.path.insert(0, {str(Path(__file__).parent.parent.parent)!r})
from pathlib import Path
from tests.tracking.test_trackers import StopAfter, fit, same
out = Path({str(tmp_path / "run")!r})
try:
    fit({tiny_model!r}, {question_file!r}, out, "trackio", progress=StopAfter(3))
except RuntimeError:
    pass
fit({tiny_model!r}, {question_file!r}, out, "trackio")
from trackio.sqlite_storage import SQLiteStorage
(name,) = SQLiteStorage.get_runs("kvorum")
there = {{}}
for row in SQLiteStorage.get_logs("kvorum", name):
    for key, value in row.items():
        if key not in ("step", "timestamp"):
            there.setdefault(key, []).append((row["step"], value))
same(there, out)
assert SQLiteStorage.get_run_config("kvorum", name)["members"] == 2
print("as expected", file=sys.stderr)
"""
    environment = os.environ | {"TRACKIO_DIR": str(tmp_path / "trackio"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert "as expected" in done.stderr, done.stderr
    assert "rackio" not in done.stdout, "what a command prints is its result"
