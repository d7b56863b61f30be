"""`kvorum fit --ray` as a user types it: ended midway, and asked for what there is not."""

import functools
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from kvorum import cli
from kvorum.cluster.whole import Whole
from kvorum.run import Run
from tests.cluster.fits import held, in_groups, no_leftovers
from tests.cluster.ray.conftest import Nodes

pytestmark = pytest.mark.ray

FIT = ["--members", "4", "--rank", "2", "--alpha", "4", "--epochs", "2", "--batch-size", "1", "--lr", "1e-2"]
FIT += ["--device", "cpu", "--evaluate-limit", "6"]
SAME: dict[str, Any] = {"epochs": 2, "batch_size": 1}
# A shell's background leaves SIGINT ignored, and a child inherits that.
PROGRAM = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from kvorum.cli import main
main()
"""
PATIENCE = 120
"""Seconds after which a fit that should have saved something has failed."""


def begin(cluster: Nodes, model: str, task: str, out: Path, *more: str) -> subprocess.Popen[str]:
    words = ["--model", model, "--task", task, "--out", str(out), *FIT, "--ray", cluster.address]
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "fit", *words, "--members-per-worker", "2", *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"COLUMNS": "400"},
    )


def wait_for(folder: Path, name: str) -> None:
    """Until somebody has saved a file."""
    until = time.monotonic() + PATIENCE
    while not list(folder.glob(name)):
        assert time.monotonic() < until, f"no {name} in {folder}"
        time.sleep(0.02)


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    said, _ = process.communicate(timeout=PATIENCE)
    return process.returncode, said


@pytest.fixture(scope="module")
def expected(tiny_model: str, few: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What the command comes to."""
    return held(in_groups(tiny_model, few, tmp_path_factory.mktemp("expected") / "run", 2, **SAME))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_ended_midway_the_same_command_goes_on_to_the_same_files(
    cluster: Nodes,
    tiny_model: str,
    few: str,
    tmp_path: Path,
    expected: dict[str, bytes],
    number: signal.Signals,
) -> None:
    out = tmp_path / "run"
    # Nothing but the signal saves within an epoch, where one can: what is killed has its steps.
    saving = ["--save-minutes", "0" if number == signal.SIGKILL else "60"]
    process = begin(cluster, tiny_model, few, out, *saving)
    within = "000" if number == signal.SIGINT else "001/step-*"
    wait_for(out / "groups", f"*/epochs/{within}/adapters.safetensors")
    process.send_signal(number)
    status, said = end(process)
    if number == signal.SIGKILL:
        assert status == -signal.SIGKILL
    else:
        assert status == 130, said
        assert "what is computed is saved first" in said and "the same command goes on from there" in said
        assert "Traceback" not in said
    assert not (out / "config.yaml").exists()
    status, said = end(begin(cluster, tiny_model, few, out, *saving))
    assert status == 0, said
    assert "going on after epoch" in said and f"fitted into {out}; next: kvorum report {out}" in said
    run = Run.open(out)
    no_leftovers(run)
    assert held(run) == expected


def fails(capsys: pytest.CaptureFixture, out: Path, model: str, task: str, *words: str) -> str:
    with pytest.raises(SystemExit) as stop:
        cli.main(["fit", "--model", model, "--task", task, "--out", str(out), *FIT, *words])
    said = capsys.readouterr().err
    assert stop.value.code == 2 and "Traceback" not in said
    return " ".join(said.split())


def test_where_no_cluster_answers_it_is_said_soon(
    tiny_model: str, few: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    begun = time.monotonic()
    said = fails(capsys, tmp_path / "run", tiny_model, few, "--ray", "127.0.0.1:1")
    assert "--ray 127.0.0.1:1: no Ray cluster answers there (Connection refused); the address is what" in said
    said = fails(capsys, tmp_path / "run", tiny_model, few, "--ray", "no-such-host.invalid:6379")
    assert "no Ray cluster answers there" in said
    assert time.monotonic() - begun < 10 and not (tmp_path / "run").exists()


def test_something_else_at_the_address_is_no_cluster(
    tiny_model: str, few: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    begun = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        assert f"--ray {address}: " in fails(capsys, tmp_path / "run", tiny_model, few, "--ray", address)
    assert time.monotonic() - begun < 30 and not (tmp_path / "run").exists()


def test_auto_without_a_cluster_says_how_to_start_one(
    tiny_model: str, few: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    import ray._private.services as services

    # The cluster of these tests runs on this machine, and others may.
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(services, "find_gcs_addresses", functools.cache(set))
    monkeypatch.setattr(services, "find_bootstrap_address", lambda temp_dir: None)
    said = fails(capsys, tmp_path / "run", tiny_model, few, "--ray", "auto")
    assert "--ray auto: no Ray cluster runs on this machine; start one with: ray start --head" in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--gpus-per-worker", "1"], "--gpus-per-worker 1: the largest of the 4 machines of the cluster at"),
        (["--cpus-per-worker", "2"], "--cpus-per-worker 2: the largest of the 4 machines of the cluster at"),
    ],
)
def test_more_than_a_machine_has_is_refused(
    cluster: Nodes,
    tiny_model: str,
    few: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    words: list[str],
    said: str,
) -> None:
    assert said in fails(capsys, tmp_path / "run", tiny_model, few, "--ray", cluster.address, *words)
    assert not (tmp_path / "run").exists()


def test_a_place_that_cannot_be_written_to_is_refused(
    cluster: Nodes, tiny_model: str, few: str, tmp_path: Path, s3: str, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    for out in (tmp_path / "file" / "run", f"s3://nowhere/run{s3}", "nope://x/run"):
        said = fails(capsys, tiny_model and out, tiny_model, few, "--ray", cluster.address)  # type: ignore[arg-type]
        assert "cannot be" in said or "neither pyarrow nor fsspec" in said
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_a_folder_that_workers_do_not_see_is_refused(
    cluster: Nodes,
    tiny_model: str,
    few: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    real = Whole.mark
    monkeypatch.setattr(Whole, "mark", lambda self: real(self)[:-1] + "x")
    said = fails(capsys, tmp_path / "run", tiny_model, few, "--ray", cluster.address, "--members-per-worker", "2")
    assert "members 0-1" in said and "members 2-3" in said
    assert "is not the same folder here as where the work was asked for" in said
    assert not (tmp_path / "run" / "config.yaml").exists() and not list(tmp_path.rglob("*.safetensors"))
