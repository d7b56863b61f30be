"""`kvorum fit` in groups of members, as a user types it, where no cluster is needed."""

import importlib.util
from pathlib import Path

import pytest

import kvorum
from kvorum import cli
from kvorum.cli import _with_ray
from kvorum.cluster.mirror import Mirror
from kvorum.cluster.storage import Storage
from tests.cluster.fits import no_leftovers, same_fit

QUICK = ["--members", "3", "--rank", "2", "--epochs", "1", "--batch-size", "5", "--lr", "1e-2", "--evaluate-limit", "4"]


def fails(capsys: pytest.CaptureFixture, *arguments: str) -> str:
    with pytest.raises(SystemExit) as stop:
        cli.main(list(arguments))
    assert stop.value.code == 2
    return " ".join(capsys.readouterr().err.split())


def test_groups_are_fitted_one_after_another(
    tiny_model: str, few: str, tmp_path: Path, capsys: pytest.CaptureFixture, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    fit = ["fit", "--model", tiny_model, "--task", few, *QUICK]
    out = str(tmp_path / "apart ж")
    cli.main([*fit, "--out", out, "--members-per-worker", "2"])
    said = capsys.readouterr()
    assert f"fitted into {out}; next: kvorum report {out}" in said.out
    assert "members 0-1: group 1 of 2" in said.err and "member 2: group 2 of 2" in said.err
    cli.main([*fit, "--out", str(tmp_path / "joint")])
    apart = kvorum.Run.open(out)
    same_fit(kvorum.Run.open(tmp_path / "joint"), apart)
    no_leftovers(apart)
    cli.main([*fit, "--out", out, "--members-per-worker", "2"])
    assert "is fitted to epoch 1 already" in caplog.text


def test_a_url_that_is_a_folder_here_holds_a_run_too(tiny_model: str, few: str, tmp_path: Path) -> None:
    out = f"file://{tmp_path}/apart%20here"
    cli.main(["fit", "--model", tiny_model, "--task", few, *QUICK, "--out", out, "--members-per-worker", "2"])
    no_leftovers(kvorum.Run.open(tmp_path / "apart here"))


def test_storage_elsewhere_holds_the_run_and_no_key(
    tiny_model: str, few: str, tmp_path: Path, s3: str, capsys: pytest.CaptureFixture, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    url = f"s3://test:HUSH@bucket/runs/cli{s3}"
    fit = ["fit", "--model", tiny_model, "--task", few, *QUICK, "--out", url, "--members-per-worker", "2"]
    cli.main(fit)
    there = Storage(url)
    assert not [name for name in there.names() if name.startswith("groups/")]
    Mirror(tmp_path / "fetched", there).fetch()
    run = kvorum.Run.open(tmp_path / "fetched")
    no_leftovers(run)
    assert run.epochs == (0, 1)
    assert not [name for name in there.names() if b"HUSH" in (there.read(name) or b"")]
    cli.main(fit)
    assert "is fitted to epoch 1 already" in caplog.text and "HUSH" not in caplog.text + capsys.readouterr().err
    cli.main([*fit, "--epochs", "2"])
    Mirror(tmp_path / "again", there).fetch()
    assert kvorum.Run.open(tmp_path / "again").epochs == (0, 1, 2)
    assert "no such bucket" in fails(capsys, *fit, "--out", f"s3://nowhere/x{s3}").lower().replace("_", " ")


@pytest.mark.parametrize("flag", ["--repair", "--allow-drift"])
def test_what_goes_with_one_process_is_refused(flag: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for way in (["--ray"], ["--members-per-worker", "2"]):
        said = fails(capsys, "fit", "--model", "m", "--task", "facts_sums", "--out", str(tmp_path / "x"), flag, *way)
        assert "go with a fit in one process" in said
    assert not (tmp_path / "x").exists()


def test_trackers_are_refused_with_the_way_to_them(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    fit = ["fit", "--model", "m", "--task", "facts_sums", "--out", str(tmp_path / "x"), "--track", "tensorboard"]
    assert "without --ray, once it is done, tells them of all of it" in fails(capsys, *fit, "--members-per-worker", "2")
    assert not (tmp_path / "x").exists()


def test_without_the_package_it_says_what_to_install(
    tiny_model: str, few: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "ray" else real(name, *rest))
    said = fails(capsys, "fit", "--model", tiny_model, "--task", few, "--out", str(tmp_path / "x"), "--ray")
    assert "--ray needs the package ray; pip install 'kvorum[ray]'" in said
    assert not (tmp_path / "x").exists()


def test_ray_without_an_address_is_auto() -> None:
    assert _with_ray(["fit", "--ray"]) == ["fit", "--ray", "auto"]
    assert _with_ray(["fit", "--ray", "--members", "2"]) == ["fit", "--ray", "auto", "--members", "2"]
    assert _with_ray(["fit", "--ray", "local"]) == ["fit", "--ray", "local"]
    assert _with_ray(["fit", "--ray=local", "--seed", "1"]) == ["fit", "--ray=local", "--seed", "1"]
    assert _with_ray(["ask", "run", "--choices", "a", "b"]) == ["ask", "run", "--choices", "a", "b"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--ray", "somewhere"], "ray is 'somewhere'; expected auto, local, or the address HOST:PORT"),
        (["--members-per-worker", "0"], "members_per_worker is 0; it must be at least 1"),
        (["--ray", "--cpus-per-worker", "-1"], "cpus_per_worker is -1.0"),
        (["--ray", "--gpus-per-worker", "1.5"], "a fraction below 1, or a whole number"),
    ],
)
def test_options_that_cannot_be_are_refused(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    fit = ["fit", "--model", "m", "--task", "facts_sums", "--out", str(tmp_path / "x")]
    assert said in fails(capsys, *fit, *words)
    assert not (tmp_path / "x").exists()
