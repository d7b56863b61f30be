"""The command line, as a user types it, on a tiny model."""

import json
from pathlib import Path

import pytest

import kvorum
from kvorum import cli

QUICK = ["--members", "2", "--rank", "2", "--epochs", "1", "--batch-size", "10", "--lr", "1e-2"]


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Console

    monkeypatch.setattr(cli, "out", Console(width=160, soft_wrap=True, file=None))


@pytest.fixture(scope="module")
def run(tiny_model: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run that the command line fitted."""
    out = str(tmp_path_factory.mktemp("cli") / "run")
    cli.main(["fit", "--model", tiny_model, "--task", "facts_opposites", "--evaluate", "facts_opposites", "facts_sums",
              "--train-limit", "20", "--evaluate-limit", "6", "--out", out, *QUICK])  # fmt: skip
    return out


def fails(capsys: pytest.CaptureFixture, *arguments: str) -> str:
    """What a command that must fail by a user's mistake says."""
    with pytest.raises(SystemExit) as stop:
        cli.main(list(arguments))
    assert stop.value.code == 2
    return capsys.readouterr().err


def test_show_prints_every_task_and_json_every_number(run: str, capsys: pytest.CaptureFixture) -> None:
    cli.main(["show", run])
    shown = capsys.readouterr().out
    assert "facts_opposites: 6 questions" in shown and "facts_sums: 6 questions" in shown and "NLL" in shown
    cli.main(["show", run, "--json"])
    numbers = json.loads(capsys.readouterr().out)
    opened = kvorum.Run.open(run)
    for epoch in (0, 1):
        for task in ("facts_opposites", "facts_sums"):
            got = numbers["epochs"][str(epoch)][task]["ensemble"]
            predictions = opened.predictions(epoch, task)
            assert got["accuracy"]["value"] == predictions.accuracy()
            assert got["nll"]["value"] == pytest.approx(predictions.nll())
    assert numbers["settings"]["members"] == 2 and numbers["facts"]["parameters_per_member"] > 0


def test_evaluate_adds_a_task_at_the_epochs_asked_for(run: str, tmp_path: Path) -> None:
    file = tmp_path / "extra.csv"
    file.write_text('question,choices,answer\nwhich?,"[""a"", ""b""]",b\n')
    cli.main(["evaluate", run, "--task", str(file), "facts_elements", "--epochs", "0,1", "--evaluate-limit", "3"])
    opened = kvorum.Run.open(run)
    assert {"extra", "facts_elements"} <= set(opened.tasks(0)) & set(opened.tasks(1))
    assert opened.tasks(1)[0] == "facts_opposites", "the fitted task comes first"
    assert len(opened.predictions(1, "facts_elements")) == 3 and len(opened.predictions(1, "extra")) == 1


def test_questions_without_answers_are_answered_but_not_scored(
    run: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    file = tmp_path / "unlabelled.jsonl"
    file.write_text('{"question": "a?", "choices": ["b", "c"]}\n{"question": "d?", "choices": ["e", "f", "g"]}\n')
    cli.main(["evaluate", run, "--task", str(file)])
    predictions = kvorum.Run.open(run).predictions(1, "unlabelled")
    assert predictions.answers.tolist() == [-1, -1] and (predictions.probs[:, 0, 2] == 0).all()
    cli.main(["show", run, "--json"])
    numbers = json.loads(capsys.readouterr().out)["epochs"]["1"]["unlabelled"]
    assert numbers["labelled"] == 0 and numbers["ensemble"]["accuracy"]["value"] is None
    assert numbers["predictive_entropy"]["all"]["mean"]["value"] > 0
    cli.main(["show", run])
    assert "unlabelled: 2 questions" in capsys.readouterr().out


def test_a_prompt_file_is_used_and_kept(tiny_model: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    prompt = tmp_path / "prompt.jinja"
    prompt.write_text("{{ subject }}? {{ question }} ->")
    arguments = ["fit", "--model", tiny_model, "--task", "facts_sums", "--prompt", str(prompt)]
    cli.main([*arguments, "--epochs", "0", "--evaluate-limit", "2", "--out", str(tmp_path / "run")])
    assert kvorum.Run.open(tmp_path / "run").facts["prompt_template"] == "{{ subject }}? {{ question }} ->"
    capsys.readouterr()
    cli.main([*arguments, "--dry-run"])
    assert "sums? What is" in capsys.readouterr().out
    prompt.write_text("{{ qestion }}")
    assert "prompt.jinja" in fails(capsys, *arguments)


def test_a_file_of_the_same_name_does_not_replace_a_task(
    run: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    file = tmp_path / "facts_sums.jsonl"
    file.write_text('{"question": "a?", "choices": ["b", "c"], "answer": 0}\n')
    assert "holds predictions on another 'facts_sums'" in fails(capsys, "evaluate", run, "--task", str(file))


def test_ask_answers_with_votes(run: str, capsys: pytest.CaptureFixture) -> None:
    cli.main(["ask", run, "Which?", "--choices", "this", "that", "--json"])
    answer = json.loads(capsys.readouterr().out)
    assert answer["answer"] in {"this", "that"} and sum(answer["probabilities"].values()) == pytest.approx(1)
    assert answer["predictive_entropy"] == pytest.approx(answer["expected_entropy"] + answer["mutual_information"])
    assert [member["member"] for member in answer["members"]] == [0, 1]
    cli.main(["ask", run, "Which [b]?", "--choices", "this", "[red]that"])
    shown = capsys.readouterr().out
    assert "Which [b]?" in shown and "[red]that" in shown and "aleatoric" in shown
    assert "there twice" in fails(capsys, "ask", run, "Which?", "--choices", "this", "this")
    assert "at least two" in fails(capsys, "ask", run, "Which?", "--choices", "this")


def test_report_prints_the_path_of_the_page(run: str, capsys: pytest.CaptureFixture) -> None:
    cli.main(["report", run])
    page = Path(capsys.readouterr().out.strip())
    assert page == Path(run) / "report" / "index.html" and page.stat().st_size > 10_000


def test_a_dry_run_shows_a_prompt_with_its_tokens_and_fits_nothing(
    tiny_model: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "none"
    cli.main(["fit", "--model", tiny_model, "--task", "facts_capitals", "--out", str(out), "--dry-run"])
    shown = capsys.readouterr().out
    assert "trainable parameters" in shown and "What is the capital of" in shown and "[['" in shown and "steps" in shown
    assert not out.exists()


def test_flags_win_over_a_yaml_file_and_a_run_s_own_file_can_be_fitted_again(
    tiny_model: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(f"model: {tiny_model}\ntask: facts_sums\nmembers: 3\nepochs: 0\nevaluate-limit: 2\n")
    cli.main(["fit", str(file), "--members", "2", "--out", str(tmp_path / "run")])
    config = kvorum.Run.open(tmp_path / "run").config
    assert config.members == 2 and config.epochs == 0 and config.evaluate_limit == 2
    cli.main(["fit", str(tmp_path / "run" / "config.yaml"), "--out", str(tmp_path / "again")])
    assert kvorum.Run.open(tmp_path / "again").config.members == 2
    file.write_text("model: x\ntask: facts_sums\nlerning_rate: 1\n")
    assert "no setting 'lerning_rate'" in fails(capsys, "fit", str(file))
    file.write_text("model: x\ntask: facts_sums\nmembers: none\n")
    assert "members is 'none'" in fails(capsys, "fit", str(file))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "nowhere"], "nowhere: no such directory"),
        (["report", "nowhere"], "nowhere: no such directory"),
        (["ask", "nowhere", "a?", "--choices", "b", "c"], "nowhere: no such directory"),
        (["fit", "--model", "m", "--task", "commonsense"], "did you mean 'commonsense_qa'"),
        (["fit", "--model", "m", "--task", "nothere.jsonl"], "nothere.jsonl"),
        (["fit", "--model", "no-such-model", "--task", "facts_sums"], "no folder or .gguf file"),
        (["fit", "--model", "m", "--task", "facts_sums", "--lr", "0"], "lr is 0.0"),
        (["fit", "missing.yaml"], "missing.yaml: cannot be read"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    said = fails(capsys, *arguments)
    assert message in said.replace("\n", " ") and "Traceback" not in said
    assert not list(tmp_path.iterdir()), "nothing was left behind"


def test_a_full_disk_is_one_line_and_status_1(
    run: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "page")

    monkeypatch.setattr("kvorum.report.write", full)
    with pytest.raises(SystemExit) as stop:
        cli.main(["report", run])
    said = capsys.readouterr().err
    assert stop.value.code == 1 and "page: No space left on device; what was saved" in said and "Traceback" not in said


def test_an_epoch_that_is_not_saved_is_named(run: str, capsys: pytest.CaptureFixture) -> None:
    assert "has no epoch 7; saved are 0, 1" in fails(capsys, "evaluate", run, "--task", "facts_sums", "--epochs", "7")
    assert "expected last, all" in fails(capsys, "evaluate", run, "--task", "facts_sums", "--epochs", "first")


def test_bad_rows_stop_a_fit_or_are_skipped_and_counted(
    tiny_model: str, tmp_path: Path, capsys: pytest.CaptureFixture, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "q.jsonl"
    file.write_text(
        '{"question": "a?", "choices": ["b", "c"], "answer": "b"}\n{"question": "a?", "choices": ["b"], "answer": 0}\n'
    )
    arguments = ["fit", "--model", tiny_model, "--task", str(file), "--out", str(tmp_path / "run"), *QUICK]
    said = fails(capsys, *arguments)
    assert "q.jsonl" in said and "2" in said and "only one choice" in said
    with caplog.at_level("WARNING"):
        cli.main([*arguments, "--skip-bad-rows"])
    assert "bad rows left out: 1" in caplog.text and "only one choice" in caplog.text
    said = capsys.readouterr().err
    assert "scored on the questions that it is fitted on" in said
    facts = kvorum.Run.open(tmp_path / "run").facts
    assert facts["train_questions"] == 1 and len(facts["skipped_rows"]) == 1
