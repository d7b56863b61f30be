import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import kvorum
from kvorum.adapters import AdapterStack
from kvorum.posterior.fitting import Fitting
from kvorum.posterior.progress import Silent
from tests import tiny

SETTINGS: dict[str, Any] = {"members": 2, "rank": 2, "alpha": 4.0, "epochs": 2, "batch_size": 3, "lr": 1e-2}


def fit(model: Any, task: Any, **settings: Any) -> kvorum.Posterior:
    return kvorum.fit(model, task, **(SETTINGS | settings))


class StopAfter(Silent):
    """Pulls the plug after some steps, as a crash would."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def steps(self, lines: Any) -> None:
        self.left -= len(lines)
        if self.left < 0:
            raise RuntimeError("the plug was pulled")


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in {"lock", "config.yaml", "manifest.json"}
    }


def test_a_run_that_was_stopped_goes_on_to_the_very_same_files(
    tiny_model: str, question_file: str, tmp_path: Path
) -> None:
    settings = {"evaluate": ["facts_capitals", question_file], "evaluate_limit": 5, "dropout": 0.2}
    fit(tiny_model, question_file, out=str(tmp_path / "whole"), **settings)
    for steps in (3, 9):  # within the first epoch, within the second
        with pytest.raises(RuntimeError, match="plug"):
            fit(tiny_model, question_file, out=str(tmp_path / "torn"), progress=StopAfter(steps), **settings)
    fit(tiny_model, question_file, out=str(tmp_path / "torn"), **settings)
    whole, torn = files(tmp_path / "whole"), files(tmp_path / "torn")
    assert whole.keys() == torn.keys()
    assert {
        "log.jsonl",
        "epochs/000/adapters.safetensors",
        "epochs/001/predictions/facts_capitals.parquet",
        "epochs/002/optimizer.safetensors",
        "epochs/002/predictions/mine.parquet",
    } <= whole.keys()
    assert "epochs/001/optimizer.safetensors" not in whole
    for name in whole:
        assert whole[name] == torn[name], name


def test_the_same_call_on_a_finished_run_computes_nothing(tiny_model: str, question_file: str, tmp_path: Path) -> None:
    out = str(tmp_path / "run")
    fit(tiny_model, question_file, out=out)
    before = files(Path(out))
    fit(tiny_model, question_file, out=out, progress=StopAfter(0))
    assert files(Path(out)) == before


def test_more_epochs_and_more_tasks_go_on_from_what_is_there(
    tiny_model: str, question_file: str, tmp_path: Path
) -> None:
    at_once, in_two = str(tmp_path / "at_once"), str(tmp_path / "in_two")
    fit(tiny_model, question_file, out=at_once, epochs=3)
    fit(tiny_model, question_file, out=in_two, epochs=1)
    fit(tiny_model, question_file, out=in_two, epochs=3, evaluate=[question_file, "facts_sums"], token_budget=50)
    for one, two in zip(
        *(AdapterStack.load(f"{out}/epochs/003/adapters.safetensors").parameters() for out in (at_once, in_two)),
        strict=True,
    ):
        torch.testing.assert_close(one, two, atol=1e-4, rtol=1e-4)
    assert kvorum.Run.open(in_two).tasks(0) == ("mine", "facts_sums")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lr": 1e-3}, "its lr is 0.01, asked for was 0.001"),
        ({"seed": 1}, "its seed is 0"),
        ({"train_limit": 5}, "its train_limit is None, asked for was 5"),
    ],
)
def test_a_directory_with_another_run_is_refused(
    tiny_model: str, question_file: str, tmp_path: Path, change: dict, message: str
) -> None:
    out = str(tmp_path / "run")
    fit(tiny_model, question_file, out=out, epochs=0)
    before = files(Path(out))
    with pytest.raises(kvorum.KvorumError, match=message):
        fit(tiny_model, question_file, out=out, epochs=0, **change)
    assert files(Path(out)) == before


def test_a_changed_training_file_and_a_changed_base_model_are_refused(question_file: str, tmp_path: Path) -> None:
    out, model = str(tmp_path / "run"), str(tiny.save(tmp_path / "model"))
    fit(model, question_file, out=out, epochs=0)
    text = Path(question_file).read_text()
    Path(question_file).write_text(text.replace('"answer": 0', '"answer": 1', 1))
    with pytest.raises(kvorum.KvorumError, match=r"training questions: was .*, now"):
        fit(model, question_file, out=out, epochs=0)
    Path(question_file).write_text(text)
    tiny.save(tmp_path / "model", seed=3)
    with pytest.raises(kvorum.KvorumError, match=r"base model's revision: was .*, now"):
        fit(model, question_file, out=out, epochs=0)
    with pytest.raises(kvorum.KvorumError, match=r"was fitted on .* but what is there now is"):
        kvorum.load(out)


def test_a_folder_with_other_things_in_it_is_left_alone(tiny_model: str, question_file: str, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    with pytest.raises(kvorum.KvorumError, match="not empty and holds no run"):
        fit(tiny_model, question_file, out=str(tmp_path / "full"))


def test_a_second_process_is_refused(tiny_model: str, question_file: str, tmp_path: Path) -> None:
    from kvorum.run import locked

    with (
        locked(tmp_path / "run"),
        pytest.raises(kvorum.KvorumError, match=r"process \d+ \(.*\) is working on this run"),
    ):
        fit(tiny_model, question_file, out=str(tmp_path / "run"))
    fit(tiny_model, question_file, out=str(tmp_path / "run"), epochs=0)


def test_fitting_learns_and_loading_answers_alike(tiny_model: str, question_file: str, tmp_path: Path) -> None:
    posterior = fit(tiny_model, question_file, out=str(tmp_path / "run"), epochs=8, prior="none")
    run = kvorum.Run.open(tmp_path / "run")
    first, last = run.predictions(0, "mine"), run.predictions(8, "mine")
    assert last.nll() < first.nll() - 0.1
    assert last.mutual_information.max() > 1e-4 > first.mutual_information.max()
    assert last.facts["trained_on"] and last.facts["trained_on_questions"] == 20
    again = kvorum.load(tmp_path / "run").predict(question_file)
    np.testing.assert_allclose(again.probs, last.probs, atol=1e-6)
    np.testing.assert_allclose(posterior.predict(question_file).probs, last.probs, atol=1e-6)
    sums = posterior.predict("facts_sums", limit=4)
    assert not sums.facts["trained_on"] and len(sums) == 4
    asked = posterior.ask("Which is 3?", ["3", "4", "no <b>"])
    np.testing.assert_allclose(asked.probs[:, 0], last.probs[:, 3], atol=1e-6)


def test_the_log_has_a_line_a_step_with_a_number_a_member(tiny_model: str, question_file: str, tmp_path: Path) -> None:
    fit(tiny_model, question_file, out=str(tmp_path / "run"), l2=0.5)
    lines = kvorum.Run.open(tmp_path / "run").log
    assert [(line["epoch"], line["step"]) for line in lines] == [(e, s) for e in (1, 2) for s in range(7)]
    for line in lines:
        total = np.array(line["nll"]) + np.array(line["penalty"])
        np.testing.assert_allclose(line["loss"], total, rtol=1e-5)
        assert len(line["gradient_norm"]) == 2 and line["lr"] == 1e-2
    assert lines[0]["penalty"] == [0, 0] and min(lines[-1]["penalty"]) > 0


def test_a_fit_without_a_directory_gives_the_same_posterior(
    tiny_model: str, question_file: str, tmp_path: Path
) -> None:
    saved = fit(tiny_model, question_file, out=str(tmp_path / "run"))
    kept = fit(tiny_model, question_file)
    for one, two in zip(saved.stack.parameters(), kept.stack.parameters(), strict=True):
        assert torch.equal(one, two)


def test_a_model_handed_over_comes_back_untouched(question_file: str) -> None:
    model, tokenizer = tiny.model().train(), tiny.tokenizer()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.resize_token_embeddings(257)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    task = kvorum.Task(
        name="short",
        train=tuple(kvorum.Question(id=str(i), question="a", choices=("b", "c"), answer=i % 2) for i in range(4)),
        test=(kvorum.Question(id="t", question="a", choices=("b", "c"), answer=0),),
        train_split="train",
        test_split="test",
        source="made here",
    )
    posterior = fit((model, tokenizer), task, evaluate=[task])
    assert posterior.predict(task).ids == ("t",)
    after = model.state_dict()
    assert after.keys() == before.keys() and all(torch.equal(after[name], before[name]) for name in before)
    assert model.training and all(p.requires_grad for p in model.parameters())


def test_a_member_that_diverges_is_frozen_named_and_left_out(
    tiny_model: str, question_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = fit(tiny_model, question_file)
    begin = Fitting.__init__

    def poisoned(self: Fitting, *rest: Any, **named: Any) -> None:
        begin(self, *rest, **named)
        if self.point == (0, 0):
            next(iter(self.stack.b.values()))[0].fill_(1e38)

    monkeypatch.setattr(Fitting, "__init__", poisoned)
    fitted = fit(tiny_model, question_file, out=str(tmp_path / "run"))
    assert fitted.stack.diverged == {0: "epoch 1, step 0"} and fitted.stack.active == (1,)
    for one, two in zip(fitted.stack.parameters(), alone.stack.parameters(), strict=True):
        torch.testing.assert_close(one[1], two[1], atol=2e-6, rtol=1e-6)  # the passes are smaller, and round otherwise
    read = kvorum.Run.open(tmp_path / "run").predictions(2, "mine")
    assert read.facts["members"] == [1] and read.members == 1 and "0" in read.facts["diverged"]
    first = kvorum.Run.open(tmp_path / "run").predictions(0, "mine")
    assert first.facts["members"] == [1] and "not finite" in first.facts["diverged"]["0"]
    line = json.loads((tmp_path / "run" / "log.jsonl").read_text().splitlines()[0])
    assert line["loss"][0] is None and line["loss"][1] > 0


def test_if_all_members_diverge_it_says_so(tiny_model: str, question_file: str) -> None:
    with pytest.raises(kvorum.KvorumError, match=r"every member diverged by epoch 1, step .*lower --lr"):
        fit(tiny_model, question_file, lr=1e30, clip=0, epochs=3)


def test_what_cannot_be_fitted_is_said_before_anything_is_computed(tiny_model: str, tmp_path: Path) -> None:
    with pytest.raises(kvorum.KvorumError, match="mmlu_stem"):
        fit(tiny_model, "mmlu_stm")
    unlabelled = tmp_path / "open.jsonl"
    unlabelled.write_text('{"question": "a?", "choices": ["b", "c"]}\n')
    with pytest.raises(kvorum.KvorumError, match="1 of 1 training questions have no answer"):
        fit(tiny_model, str(unlabelled))
    long = tmp_path / "long.jsonl"
    long.write_text(json.dumps({"id": "x", "question": "word " * 80, "choices": ["b", "c"], "answer": 0}) + "\n")
    with pytest.raises(kvorum.KvorumError, match=r"'x' is 4.. tokens long"):
        fit(tiny_model, str(long))
    with pytest.raises(kvorum.KvorumError, match="no setting 'learning_rate'"):
        fit(tiny_model, "facts_sums", learning_rate=1e-3)
    with pytest.raises(kvorum.KvorumError, match="is called 'q_prj'; did you mean 'q_proj'"):
        fit(tiny_model, "facts_sums", targets=["q_prj"])


def test_letters_by_the_paper_s_prompt_keep_the_rest(tiny_model: str, question_file: str) -> None:
    posterior = fit(tiny_model, question_file, answer_format="letter", epochs=1)
    predictions = posterior.predict(question_file, limit=3)
    np.testing.assert_allclose(predictions.probs.sum(-1) + predictions.rest, 1.0, atol=1e-6)
    assert predictions.rest.min() > 0.5, "a random model puts most of its mass on other bytes"
    chatty = fit(tiny_model, question_file, answer_format="letter", epochs=0, chat=True)
    assert chatty.predict(question_file, limit=1).rest[0, 0] != predictions.rest[0, 0]


def test_training_questions_without_an_answer_are_refused_or_left_out_on_request(
    tiny_model: str, question_file: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lines = Path(question_file).read_text().splitlines()
    half = [json.dumps(json.loads(line) | ({"answer": None} if i % 2 else {})) for i, line in enumerate(lines)]
    Path(question_file).write_text("\n".join(half))
    with pytest.raises(kvorum.KvorumError, match=r"10 of 20 training questions have no answer, the first is 'q1'"):
        fit(tiny_model, question_file, epochs=0)
    posterior = fit(tiny_model, question_file, epochs=0, skip_bad_rows=True)
    assert len(posterior.fitted_on) == 10
    assert "10 of 20 training questions have no answer, the first is 'q1'; left out" in caplog.text
    out = str(tmp_path / "run")
    fit(tiny_model, question_file, epochs=0, skip_bad_rows=True, out=out)
    assert kvorum.load(out).fitted_on == posterior.fitted_on
    Path(question_file).write_text("\n".join(half[1:2]))
    with pytest.raises(kvorum.KvorumError, match=r"1 of 1 training questions have no answer"):
        fit(tiny_model, question_file, epochs=0, skip_bad_rows=True)
