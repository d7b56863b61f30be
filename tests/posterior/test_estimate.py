"""The memory that a dry run tells of, against what PyTorch's allocator gives out in real steps."""

import dataclasses
from pathlib import Path
from typing import Any

import memory_estimate
import pytest
import torch

from kvorum import cli
from kvorum.adapters import find_targets, kaiming_uniform_stack
from kvorum.config import fit_config
from kvorum.engine import BaseModel
from kvorum.posterior.dry_run import describe
from kvorum.posterior.job import Job, plan
from kvorum.posterior.live import LiveBytes
from kvorum.posterior.posterior import TOKEN_BUDGET
from kvorum.posterior.scoring import scoring
from kvorum.tasks import EncodedQuestion, Prompt, load_task
from tests import tiny

WITHIN = 0.15


def job_of(name: str, **settings: Any) -> Job:
    config = fit_config({"model": name, "task": "t", "members": 3, "rank": 2, "batch_size": 4, **settings})
    model = tiny.model(name).to(getattr(torch, settings.get("dtype", "float32")))
    return Job(
        config=config,
        base=BaseModel(name, model, tiny.tokenizer(), ""),
        prompt=Prompt(answer_format=config.answer_format, template="{{ question }}", chat=False),
        task=load_task("facts_sums"),
        train=(),
        encoded=[
            EncodedQuestion(prompt=q.prompt, candidates=q.candidates, answer=q.answer)
            for q in tiny.questions(16, config.answer_format)
        ],
        evaluation=(),
        evaluation_encoded=(),
        targets=find_targets(model, config.targets),
        members=tuple(range(config.members)),
    )


@pytest.mark.parametrize(
    ("name", "twice", "settings"),
    [
        ("llama", False, {}),
        ("llama", True, {}),
        ("llama", False, {"answer_format": "letter", "members": 6}),
        ("llama", True, {"token_budget": 150, "prior": "factors"}),
        ("llama", False, {"dtype": "bfloat16", "targets": ["q_proj", "v_proj"]}),
        ("llama", True, {"dtype": "bfloat16"}),
        ("gpt2", False, {}),
        ("gpt2", True, {}),
        ("gemma2", False, {"dropout": 0.2}),
    ],
)
def test_a_step_takes_what_was_said(name: str, twice: bool, settings: dict[str, Any]) -> None:
    job = job_of(name, gradient_checkpointing=twice, **settings)
    said = job.memory_estimate()
    assert said["base model"] == sum(p.numel() * p.element_size() for p in job.base.model.parameters())
    measured = memory_estimate.most_at_once(lambda: memory_estimate.steps(job))
    # Above the base alone, which is known: with it all would look better than it is.
    assert said["adapters"] + said["activations"] == pytest.approx(measured, rel=WITHIN)


@pytest.mark.parametrize("answer_format", ["text", "letter"])
def test_scoring_counts_where_it_needs_more_than_a_step(answer_format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TOKEN_BUDGET, "cpu", 60)
    job = job_of("llama", gradient_checkpointing=True, answer_format=answer_format)
    fitting = job.memory_estimate()
    job = dataclasses.replace(job, evaluation_encoded=(job.encoded,))
    said = job.memory_estimate()
    stack = kaiming_uniform_stack(job.targets, members=job.members, rank=2, alpha=4.0, seed=0)
    for b in stack.b.values():
        torch.nn.init.ones_(b)
    asked: Any = {"answer_format": answer_format, "normalisation": "sum", "token_budget": None}
    counted = LiveBytes()
    for held in (*job.base.model.parameters(), *job.base.model.buffers(), *stack.parameters()):
        counted.leave_out(held)
    with counted, scoring(job.base, stack, **asked, trial=job.encoded, compile=False) as scorer:
        scorer(job.encoded)
    size = said["adapters"] / 4
    # AdamW's moments are there, too.
    assert size + said["activations"] == pytest.approx(counted.peak, rel=WITHIN)
    assert said["activations"] > 1.5 * fitting["activations"]


def test_it_tells_what_less_memory_would_take() -> None:
    whole = job_of("llama").memory_estimate()
    for settings in ({"token_budget": 60}, {"gradient_checkpointing": True}):
        assert job_of("llama", **settings).memory_estimate()["activations"] < whole["activations"]


def test_without_weights_it_is_the_same(tiny_model: str, question_file: str) -> None:
    config = fit_config({"model": tiny_model, "task": question_file, "device": "cpu", "members": 2})
    with_them, without = plan(config), plan(config, weights=False)
    assert with_them.memory_estimate() == without.memory_estimate()
    assert {p.device.type for p in without.base.model.parameters()} == {"meta"} and without.base.device.type == "cpu"
    assert (with_them.base.parameters, with_them.encoded) == (without.base.parameters, without.encoded)


@pytest.mark.parametrize("twice", [False, True])
def test_a_gpu_that_is_not_there_can_be_planned_for(tiny_model: str, question_file: str, twice: bool) -> None:
    settings = {"model": tiny_model, "task": question_file, "device": "cuda", "gradient_checkpointing": twice}
    job = plan(fit_config(settings), weights=False)
    assert job.base.device.type == "cuda" and job.base.model.dtype == torch.bfloat16
    assert job.memory_estimate()["activations"] > 0
    assert job.token_budget == 8192


@pytest.mark.parametrize("error", [RuntimeError, TypeError, ValueError])
def test_what_is_not_known_is_said_where_the_total_stands(
    tiny_model: str, question_file: str, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error("no values")

    monkeypatch.setattr("kvorum.posterior.job.needed", fail)
    shown = describe(plan(fit_config({"model": tiny_model, "task": question_file, "device": "cpu"}), weights=False))
    (row,) = (line for line in shown.splitlines() if line.startswith("memory"))
    assert row.split(maxsplit=1)[1].startswith("more than 0.0 GiB: base") and row.endswith(", activations unknown")


def test_a_model_that_cannot_do_without_values_is_told_of_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    said = job_of("mixtral", dtype="float32", targets=["q_proj"]).memory_estimate()
    assert said.keys() in ({"base model", "adapters"}, {"base model", "adapters", "activations"})
    assert ("left out of the memory" in caplog.text) == ("activations" not in said)


@pytest.mark.parametrize(("quantize", "held"), [("off", "float32"), ("4bit", "4bit, all else float32")])
def test_a_dry_run_loads_no_weights_and_says_how_they_would_be_held(
    tiny_model: str,
    question_file: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    quantize: str,
    held: str,
) -> None:
    def load(*_: Any, **__: Any) -> None:
        raise AssertionError("weights were loaded")

    monkeypatch.setattr("kvorum.posterior.job.load_base", load)
    arguments = ["fit", "--model", tiny_model, "--task", question_file, "--out", str(tmp_path / "none")]
    cli.main([*arguments, "--device", "cpu", "--quantize", quantize, "--dry-run"])
    shown = capsys.readouterr().out
    assert f"{held}, about 0.0 GiB" in shown and "activations" in shown and "[['" in shown
    assert not (tmp_path / "none").exists()


def test_a_model_that_is_not_there_is_named_in_a_dry_run_too(question_file: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        cli.main(["fit", "--model", "nothing-of-the-kind", "--task", question_file, "--dry-run"])
    assert "nothing-of-the-kind" in capsys.readouterr().err


def test_a_storage_counts_once_and_until_it_is_gone() -> None:
    before = torch.zeros(1000)
    with LiveBytes() as counted:
        counted.leave_out(before)
        before.add_(1)
        one = torch.zeros(100)
        view = one.view(10, 10)[3:]
        assert counted.now == 400
        del one
        assert counted.now == 400, "the view still holds it"
        del view
        assert counted.now == 0
        for size in (50, 60):
            torch.zeros(size)
    assert (counted.now, counted.peak) == (0, 400)
