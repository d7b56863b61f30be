"""The command on a tiny model: what it prints and writes."""

import json
from pathlib import Path

import pytest
import yaml

import kvorum
from kvorum.cli import main


@pytest.fixture
def experiment(tiny_model: str, tmp_path: Path) -> Path:
    file = tmp_path / "learn.yaml"
    settings = {
        "out": str(tmp_path / "out"),
        "settings": {"model": tiny_model, "epochs": 1, "rank": 2, "evaluate_limit": 6},
        "pool": [{"task": "facts_elements", "limit": 14}, {"task": "facts_sums", "limit": 6, "labels": "random"}],
        "test": ["facts_capitals"],
        "acquisitions": ["random", "margin"],
        "initial": 4,
        "batch": 3,
        "rounds": 2,
        "seeds": [0, 1],
        "members": 2,
    }
    file.write_text(yaml.safe_dump(settings))
    return file


def test_from_an_experiment_to_its_report(experiment: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["learn", str(experiment), "--dry-run"])
    said = capsys.readouterr().out
    assert "pool: 14 of facts_elements, 6 of facts_sums with random labels" in said
    assert "labels of a seed: 4 7 10" in said and "margin: 0 of 2 rounds done" in said
    assert not (tmp_path / "out").exists()

    main(["learn", str(experiment)])
    shown = capsys.readouterr()
    assert "start" in shown.err and "random 2" in shown.err and "margin 2" in shown.err
    page = tmp_path / "out/report/index.html"
    assert str(page) in shown.out and "margin" in shown.out
    assert "facts_elements" in page.read_text()

    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "out/rounds").rglob("*")}
    main(["learn", str(experiment), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["report"] == str(page)
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "out/rounds").rglob("*")} == before

    main(["show", str(tmp_path / "out"), "--json"])
    assert json.loads(capsys.readouterr().out).items() <= found.items()
    main(["report", str(tmp_path / "out"), "--out", str(tmp_path / "elsewhere")])
    assert capsys.readouterr().out.strip() == str(tmp_path / "elsewhere/index.html")
    assert (tmp_path / "elsewhere/index.html").is_file()

    main(["learn", str(experiment), "--dry-run", "--json"])
    planned = json.loads(capsys.readouterr().out)
    assert planned["done"] == {"random": 2, "margin": 2} and planned["labels"] == [4, 7, 10]
    assert planned["pool"] == {"facts_elements": 14, "facts_sums": 6} and planned["test"] == {"facts_capitals": 6}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bacth": 3}, "no key 'bacth' in an experiment; did you mean 'batch'"),
        ({"pool": [{"task": "facts_capital"}]}, "there is no task 'facts_capital'"),
        ({"settings": {"model": "nowhere/at-all"}}, "nowhere/at-all"),
        ({"acquisitions": "bald"}, "bald"),
    ],
)
def test_a_mistake_ends_with_one_line(
    experiment: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict, message: str
) -> None:
    experiment.write_text(yaml.safe_dump(yaml.safe_load(experiment.read_text()) | change))
    with pytest.raises(SystemExit, match="2"):
        main(["learn", str(experiment)])
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out/config.yaml").exists()


def test_a_pool_that_is_the_test_is_refused_with_the_count(
    experiment: Path, question_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    same = {"pool": [{"task": question_file}], "test": [question_file]}
    experiment.write_text(yaml.safe_dump(yaml.safe_load(experiment.read_text()) | same))
    with pytest.raises(SystemExit, match="2"):
        main(["learn", str(experiment)])
    said = "6 of the pool's 20 questions are among the test questions (6 of mine)"
    assert said in " ".join(capsys.readouterr().err.split())


def test_code_of_a_model_is_not_run_for_a_file_that_asks_for_it(experiment: Path, tmp_path: Path) -> None:
    asked = yaml.safe_load(experiment.read_text())
    asked["settings"]["trust_remote_code"] = True
    experiment.write_text(yaml.safe_dump(asked))
    with pytest.raises(SystemExit, match="2"):
        main(["learn", str(experiment)])
    assert not (tmp_path / "out").exists()


def test_the_directory_of_an_experiment_is_no_run(
    experiment: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out")
    main(["learn", str(experiment)])
    with pytest.raises(kvorum.KvorumError):
        kvorum.load(out)
    for command in (["questions", out], ["evaluate", out, "--task", "facts_sums"]):
        capsys.readouterr()
        with pytest.raises(SystemExit, match="2"):
            main(command)
        assert "holds an experiment of kvorum learn, for kvorum show" in " ".join(capsys.readouterr().err.split())
    for command in (["show", out, "--study"], ["report", out, "--mark", "1"]):
        with pytest.raises(SystemExit, match="2"):
            main(command)
        assert "there is no study to choose from" in " ".join(capsys.readouterr().err.split())


def test_a_dry_run_names_the_part_whose_labels_are_random(
    experiment: Path, question_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = yaml.safe_load(experiment.read_text())
    asked["pool"] = [{"task": question_file}, *asked["pool"]]
    asked |= {"test": [question_file], "leave_out_tested": True}
    asked["settings"].pop("evaluate_limit")
    experiment.write_text(yaml.safe_dump(asked))
    main(["learn", str(experiment), "--dry-run"])
    assert "pool: 14 of facts_elements, 6 of facts_sums with random labels" in capsys.readouterr().out
