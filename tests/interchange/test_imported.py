"""A run of adapters from elsewhere: all that reads a run works on it, and nothing fits over it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import kvorum
from kvorum import cli
from tests.interchange.conftest import Maker, change


def fails(capsys: pytest.CaptureFixture, *arguments: str) -> str:
    """What a command that must fail by a user's mistake says."""
    with pytest.raises(SystemExit) as stop:
        cli.main(list(arguments))
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return said.replace("\n", " ")


@pytest.fixture
def folders(adapter: Maker, tiny_model: str) -> list[str]:
    """Two adapters of different shapes for the tiny model."""
    settings = ({"r": 2}, {"r": 3, "target_modules": ["q_proj", "down_proj"], "use_rslora": True})
    return [str(adapter(f"m{i}", seed=i, base=tiny_model, **one)) for i, one in enumerate(settings)]


@pytest.fixture
def run(folders: list[str], tmp_path: Path, capsys: pytest.CaptureFixture) -> str:
    out = str(tmp_path / "run")
    cli.main(["import", *folders, "--task", "facts_sums", "--out", out])
    assert "2 adapters imported" in capsys.readouterr().out
    return out


def test_an_imported_run_is_scored_checked_shown_reported_and_asked(
    run: str, folders: list[str], capsys: pytest.CaptureFixture
) -> None:
    cli.main(["evaluate", run, "--task", "facts_sums", "facts_opposites", "--epochs", "all", "--evaluate-limit", "12"])
    cli.main(["check", run])
    assert "all as they were written" in capsys.readouterr().out
    opened = kvorum.Run.open(run)
    task = kvorum.load_task("facts_sums")
    direct = kvorum.load_peft(folders).predict(task, limit=12)
    np.testing.assert_allclose(opened.predictions(1, "facts_sums").probs, direct.probs, atol=1e-6)
    before = opened.predictions(0, "facts_sums")
    untouched = kvorum.fit(opened.config.model, task, members=1, epochs=0).predict(task, limit=12)
    np.testing.assert_allclose(before.probs[0], untouched.probs[0], atol=1e-6)
    assert before.mutual_information.max() == 0 < direct.mutual_information.max()
    assert opened.tasks(1)[0] == "facts_sums", "what they are said to be fitted on is in domain"
    cli.main(["show", run, "--json"])
    shown = json.loads(capsys.readouterr().out)
    assert shown["facts"]["imported"] == folders and len(shown["facts"]["imported_sha256"]) == 2
    cli.main(["show", run, "--study"])
    cli.main(["questions", run, "--json"])
    capsys.readouterr()
    cli.main(["report", run])
    page = Path(capsys.readouterr().out.strip()).read_text(encoding="utf-8")
    assert "imported from" in page and folders[1] in page and "said to be fitted on" in page
    assert "gone on with otherwise" not in page and "lost for good" not in page and "batches of" not in page
    cli.main(["ask", run, "What is 2 + 3?", "--choices", "5", "6", "--json"])
    assert [one["member"] for one in json.loads(capsys.readouterr().out)["members"]] == [0, 1]


def test_nothing_fits_over_it(run: str, tiny_model: str, capsys: pytest.CaptureFixture) -> None:
    before = (Path(run) / "manifest.json").read_bytes()
    again = ["fit", str(Path(run) / "config.yaml"), "--out", run]
    for more in ([], ["--repair"], ["--allow-drift"], ["--repair", "--allow-drift", "--members", "3"]):
        said = fails(capsys, *again, *more)
        assert "fitted elsewhere and imported" in said and "choose another --out" in said
    assert (Path(run) / "manifest.json").read_bytes() == before
    # Nor where the configuration no longer says so: the manifest remembers.
    (Path(run) / "config.yaml").write_text("model: x\ntask: y\n")
    job = ["fit", "--model", tiny_model, "--task", "facts_sums", "--out", run]
    for more in ([], ["--repair"]):
        assert "fitted elsewhere and imported" in fails(capsys, *job, *more)


def test_damaged_scores_are_let_go_of_and_damaged_adapters_are_not(run: str, capsys: pytest.CaptureFixture) -> None:
    cli.main(["evaluate", run, "--task", "facts_sums", "--epochs", "all", "--evaluate-limit", "3"])
    scores = Path(run) / "epochs" / "001" / "predictions" / "facts_sums.parquet"
    scores.write_bytes(b"no parquet")
    cli.main(["check", run, "--repair"])
    said = capsys.readouterr()
    assert f"kvorum evaluate {run} --task facts_sums --epochs 1" in said.err.replace("\n", "")
    cli.main(["evaluate", run, "--task", "facts_sums", "--evaluate-limit", "3"])
    cli.main(["check", run])
    capsys.readouterr()
    stack = Path(run) / "epochs" / "001" / "adapters.safetensors"
    stack.write_bytes(stack.read_bytes()[:-1])
    assert "import them again from" in fails(capsys, "check", run, "--repair")


def test_an_export_of_a_fit_is_imported_with_its_prompt(
    tiny_model: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    fitted = str(tmp_path / "fitted")
    prompt = tmp_path / "prompt.jinja"
    prompt.write_text("{{ question }}\n{% for c in choices %}{{ letters[loop.index0] }}: {{ c }}\n{% endfor %}-> ")
    cli.main(["fit", "--model", tiny_model, "--task", "facts_sums", "--train-limit", "12", "--evaluate-limit", "5",
              "--out", fitted, "--members", "2", "--rank", "2", "--epochs", "1", "--lr", "1e-2", "--chat",
              "--answer-format", "letter", "--prompt", str(prompt)])  # fmt: skip
    capsys.readouterr()
    cli.main(["export", fitted, str(tmp_path / "out"), "--json"])
    written = json.loads(capsys.readouterr().out)
    assert written["members"] == {f"member-0{i}": str(tmp_path / "out" / f"member-0{i}") for i in (0, 1)}
    cli.main(["import", str(tmp_path / "out"), "--task", "facts_sums", "--out", str(tmp_path / "run"), "--json"])
    assert json.loads(capsys.readouterr().out)["members"] == 2
    cli.main(["evaluate", str(tmp_path / "run"), "--task", "facts_sums", "--evaluate-limit", "5"])
    theirs, ours = (kvorum.Run.open(tmp_path / name).predictions(1, "facts_sums") for name in ("run", "fitted"))
    np.testing.assert_allclose(theirs.probs, ours.probs, atol=1e-6)
    assert theirs.facts["prompt_template"] == ours.facts["prompt_template"] and ours.rest.max() > 0
    assert theirs.facts["trained_on_questions"] >= ours.facts["trained_on_questions"]


def test_mistakes_are_one_line_and_leave_nothing(
    folders: list[str], run: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out = str(tmp_path / "new")
    assert "no task 'nope'" in fails(capsys, "import", *folders, "--task", "nope", "--out", out)
    assert "m1, adapter_config.json: r is 0" in fails(
        capsys, "import", folders[0], str(change(Path(folders[1]), r=0)), "--task", "facts_sums", "--out", out
    )
    change(Path(folders[1]), r=3)
    assert "holds a run already" in fails(capsys, "import", *folders, "--task", "facts_sums", "--out", run)
    assert "is not empty and holds no run" in fails(
        capsys, "import", *folders, "--task", "facts_sums", "--out", folders[0]
    )
    assert "is not empty; choose another folder" in fails(capsys, "export", run, folders[0])
    assert "has no epoch 7" in fails(capsys, "export", run, out, "--epoch", "7")
    assert not Path(out).exists()


def test_an_import_that_was_stopped_halfway_is_begun_again(
    folders: list[str], run: str, capsys: pytest.CaptureFixture
) -> None:
    opened = kvorum.Run.open(run)
    files = [opened.adapters_file(epoch) for epoch in (0, 1)]
    opened.keep(drop=files)
    cli.main(["import", *folders, "--task", "facts_sums", "--out", run])
    assert kvorum.Run.open(run).epochs == (0, 1)
    cli.main(["check", run])


def test_a_retry_with_other_adapters_keeps_nothing_of_the_first(
    folders: list[str], run: str, capsys: pytest.CaptureFixture
) -> None:
    opened = kvorum.Run.open(run)
    opened.keep(drop=[opened.adapters_file(epoch) for epoch in (0, 1)])
    opened.adapters_file(1).write_bytes(b"half")
    cli.main(["import", folders[1], "--task", "facts_sums", "--out", run])
    again = kvorum.Run.open(run)
    assert again.facts["imported"] == folders[1:] and again.history()["imported"] == folders[1:]
    assert again.config.members == 1 and len(again.facts["imported_sha256"]) == 1
    cli.main(["check", run])


def test_a_lost_manifest_is_no_import_that_was_stopped(
    folders: list[str], run: str, capsys: pytest.CaptureFixture
) -> None:
    (Path(run) / "manifest.json").unlink()
    assert "manifest.json: is missing" in fails(capsys, "import", *folders, "--task", "facts_sums", "--out", run)
    assert (Path(run) / "epochs" / "001" / "adapters.safetensors").is_file()


def test_a_foreign_out_is_refused_before_anything_is_loaded(
    folders: list[str], tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "note.txt").write_text("keep")
    monkeypatch.setattr("kvorum.interchange.imported.load_peft", lambda *_, **__: pytest.fail("it was loaded"))
    said = fails(capsys, "import", *folders, "--task", "facts_sums", "--out", str(tmp_path / "mine"))
    assert "is not empty and holds no run" in said


def test_sources_are_found_once(folders: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from kvorum.interchange import sources

    seen: list[object] = []
    kept = sources._adapters_of
    monkeypatch.setattr(sources, "_adapters_of", lambda entry: (seen.append(entry), kept(entry))[1])
    cli.main(["import", *folders, "--task", "facts_sums", "--out", str(tmp_path / "once")])
    assert [entry for entry in seen if isinstance(entry, str)] == folders


def test_a_damaged_calibration_is_let_go_of(run: str, caplog: pytest.LogCaptureFixture) -> None:
    opened = kvorum.Run.open(run)
    opened.put(opened.calibration_file(1), lambda path: path.write_text("{}"))
    opened.calibration_file(1).write_text("damaged")
    cli.main(["check", run, "--repair"])
    assert f"kvorum calibrate {run} --epoch 1" in caplog.text
    assert not kvorum.Run.open(run).holds(opened.calibration_file(1))


@pytest.mark.parametrize("how", ["damaged", "missing"])
def test_a_lost_configuration_is_not_for_a_fit_to_write_again(
    run: str, how: str, capsys: pytest.CaptureFixture
) -> None:
    file = Path(run) / "config.yaml"
    file.unlink() if how == "missing" else file.write_text("model: x\ntask: y\n")
    said = fails(capsys, "show", run)
    assert "import the adapters again" in said and "into another directory" in said and "kvorum fit" not in said


def test_an_export_is_of_one_epoch(run: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for wanted in ("all", "0,1"):
        said = fails(capsys, "export", run, str(tmp_path / "out"), "--epoch", wanted)
        assert "expected last, or one number" in said
    assert not (tmp_path / "out").exists()


def test_an_imported_run_is_exported_again(run: str, tmp_path: Path) -> None:
    kvorum.export_peft(run, tmp_path / "out")
    task = kvorum.load_task("facts_sums")
    again, first = kvorum.load_peft(tmp_path / "out"), kvorum.load(run)
    np.testing.assert_array_equal(again.predict(task, limit=4).probs, first.predict(task, limit=4).probs)
    shutil.rmtree(tmp_path / "out" / "member-01")
    assert kvorum.load_peft(tmp_path / "out").stack.members == (0,)
