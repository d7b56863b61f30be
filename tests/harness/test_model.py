"""kvorum within lm-evaluation-harness, against its own hf model and against kvorum's own predictions."""

import copy
import dataclasses
import gc
import importlib.metadata
import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers.processors
import torch
import yaml

pytest.importorskip("lm_eval")

import lm_eval
from lm_eval.api.instance import Instance
from lm_eval.api.registry import model_registry
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

import kvorum
from kvorum.cli import main
from kvorum.errors import KvorumError
from kvorum.harness.model import EnsembleLM
from kvorum.run import Run
from kvorum.tasks import EncodedQuestion
from tests import tiny

ROOT = Path(__file__).parent.parent.parent
TEMPLATE = "Question: {{ question }}\nAnswer:"


@dataclasses.dataclass(frozen=True)
class Fitted:
    run: Path
    questions: Path
    tasks: Path
    """A folder of the harness's tasks on the same questions."""


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    """An ensemble whose members have learned differently, and a task of the harness."""
    folder = tmp_path_factory.mktemp("harness")
    model = tiny.save(folder / "model")
    tokenizer = tiny.tokenizer()
    tokenizer.eos_token = "<s>"
    tokenizer.save_pretrained(model)
    draw = np.random.default_rng(0)
    rows = []
    for i in range(24):
        choices = ["".join(draw.choice(list("abcde "), draw.integers(2, 9))).strip() + str(n) for n in range(2 + i % 4)]
        rows.append(
            {"id": f"q{i}", "question": f"What is {i}?", "choices": choices, "answer": int(draw.integers(len(choices)))}
        )
    questions = folder / "mine.jsonl"
    questions.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "prompt.jinja").write_text(TEMPLATE)
    kvorum.fit(
        str(model),
        str(questions),
        out=str(folder / "run"),
        prompt=str(folder / "prompt.jinja"),
        members=3,
        rank=4,
        lr=1e-2,
        diversity=["initialisation", "order", "bootstrap"],
        clip=0,
        prior="none",
        epochs=2,
    )
    task = {
        "task": "mine",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(questions)}, "cache_dir": str(folder / "cache")},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": TEMPLATE,
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "{{answer}}",
        "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
    }
    tasks = folder / "tasks"
    tasks.mkdir()
    (tasks / "mine.yaml").write_text(yaml.safe_dump(task))
    informed = task | {"task": "informed", "metric_list": [{"metric": "acc"}, {"metric": "acc_mutual_info"}]}
    (tasks / "informed.yaml").write_text(yaml.safe_dump(informed))
    said = task | {"task": "said", "output_type": "generate_until", "metric_list": [{"metric": "exact_match"}]}
    (tasks / "said.yaml").write_text(yaml.safe_dump(said))
    return Fitted(folder / "run", questions, tasks)


@pytest.fixture(autouse=True)
def _no_handler_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    # It would write to the standard error of the test that came first.
    monkeypatch.setattr("lm_eval.utils._LOGGING_CONFIGURED", True)


def ensemble(fitted: Fitted, tmp_path: Path, epoch: int | str = "last") -> EnsembleLM:
    return EnsembleLM(run=fitted.run, epoch=epoch, log=tmp_path / "log.jsonl")


def theirs(ours: EnsembleLM) -> HFLM:
    """The harness's own model of the same base."""
    base = ours.posterior.base
    return HFLM(pretrained=base.model, tokenizer=copy.deepcopy(base.tokenizer), batch_size=3)


def requests(*pairs: tuple[str, str]) -> list[Instance]:
    """Two to a document."""
    return [
        Instance("loglikelihood", {"n": n // 2}, pair, n % 2, metadata=("mine", n // 2, 1))
        for n, pair in enumerate(pairs)
    ]


def evaluate(model: Any, fitted: Fitted, *tasks: str, **more: Any) -> dict[str, Any]:
    found: Any = lm_eval.simple_evaluate(
        model,
        tasks=list(tasks),
        task_manager=TaskManager(include_path=str(fitted.tasks), include_defaults=False),
        bootstrap_iters=0,
        **more,
    )
    return found


def logged(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


PAIRS = (
    ("Question: one?\nAnswer:", " a longer answer"),
    ("Question: one?\nAnswer:", " b"),
    ("A context that ends in blanks  ", "x y"),
    ("A context that ends in blanks  ", " z"),
    ("", "without a context"),
    ("", " nor here"),
    ("<s>begins with its own", " a"),
    ("another context for each", " a"),
    ("one\n", "tail\n"),
    ("word", "joined"),
)


@pytest.mark.parametrize("bos", [False, True])
def test_an_untouched_member_has_the_values_of_the_harness_s_own_model(
    fitted: Fitted, tmp_path: Path, bos: bool
) -> None:
    ours = ensemble(fitted, tmp_path, epoch=0)
    if bos:  # a tokenizer that sets a token in front of every text
        tokenizer = ours.posterior.base.tokenizer
        tokenizer._tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", 0)]
        )
        assert tokenizer.encode("a")[0] == 0
    asked = requests(*PAIRS)
    expected = theirs(ours).loglikelihood(asked)
    found = ours.loglikelihood(asked)
    # Each request alone: one candidate, whose value is its likelihood.
    alone = [ours.loglikelihood([request])[0] for request in asked]
    for one, two, three in zip(expected, found, alone, strict=True):
        assert two == pytest.approx(one, abs=1e-4) and three == pytest.approx(one, abs=1e-4)


def test_a_context_that_is_too_long_loses_its_beginning_as_theirs_does(
    fitted: Fitted, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ours = ensemble(fitted, tmp_path, epoch=0)
    text = "".join(map(str, range(150)))
    asked = requests((text, " a"), (text, " something longer"), ("short", " a"), ("short", " b"))
    assert len(text) > ours.posterior.base.max_length
    expected, found = theirs(ours).loglikelihood(asked), ours.loglikelihood(asked)
    assert [v for v, _ in found] == pytest.approx([v for v, _ in expected], abs=1e-4)
    assert "2 contexts are longer" in caplog.text
    with pytest.raises(KvorumError, match="is 0 tokens long"):
        ours.loglikelihood(requests(("context", "")))


def test_greedy_is_what_the_model_would_go_on_with(fitted: Fitted, tmp_path: Path) -> None:
    ours = ensemble(fitted, tmp_path, epoch=0)
    hf, base = theirs(ours), ours.posterior.base
    context = "Question: one?\nAnswer:"
    tokens = base.tokenizer.encode(context)
    with torch.no_grad():
        for _ in range(4):
            logits = base.model(torch.tensor([tokens], device=base.device)).logits[0, -1]
            tokens.append(int(logits.argmax()))
    after = tuple(tokens[-4:])
    other = (*after[:-1], (after[-1] + 1) % 257)
    encoded = EncodedQuestion(tuple(tokens[:-4]), (after, other, after[:2], other[-1:]), None)
    with ours.posterior.scoring([encoded]) as scorer:
        _, greedy = scorer.log_likelihoods([encoded])
    assert greedy[:, 0].tolist() == [[True, False, True, False]] * 3
    items = [(("", ""), tokens[:-4], list(c)) for c in encoded.candidates]
    assert [g for _, g in hf._loglikelihood_tokens(items)] == greedy[0, 0].tolist()


def test_raw_log_likelihoods_make_the_probabilities_that_predict_gives(fitted: Fitted) -> None:
    posterior = kvorum.load(fitted.run)
    questions = kvorum.load_task(str(fitted.questions)).train
    encoded = posterior.encode(questions)
    with posterior.scoring(encoded) as scorer:
        scores, _ = scorer.log_likelihoods(encoded)
    shares = np.exp(scores - np.logaddexp.reduce(scores, axis=-1, keepdims=True))
    expected = posterior.predict(questions).probs
    assert np.allclose(shares, expected, atol=1e-6)
    assert np.ptp(expected, axis=0).max() > 0.05, "the members must differ for this to say anything"


def test_the_harness_answers_and_doubts_as_kvorum_does(fitted: Fitted, tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["lm_eval.models"]
    if "kvorum" not in model_registry:  # as releases that know entry points register them
        point = importlib.metadata.EntryPoint("kvorum", declared["kvorum"], "lm_eval.models")
        model_registry.register("kvorum", target=point)
    results = evaluate("kvorum", fitted, "mine", model_args=f"run={fitted.run},epoch=2,log={file}")
    predictions = kvorum.load(fitted.run, 2).predict(kvorum.load_task(str(fitted.questions)).train)
    assert results["results"]["mine"]["acc,none"] == pytest.approx(predictions.accuracy())
    lines = sorted(logged(file), key=lambda line: line["doc_id"])
    assert len(lines) == len(predictions) == 24
    samples = sorted(results["samples"]["mine"], key=lambda sample: sample["doc_id"])
    assert [line["doc_hash"] for line in lines] == [sample["doc_hash"] for sample in samples]
    for row, line in enumerate(lines):
        assert line["candidates"] == len(predictions.choices[row])
        assert line["probabilities"] == pytest.approx(predictions.mean[row, : line["candidates"]], abs=1e-6)
        assert line["predicted"] == predictions.predicted[row]
        assert line["votes"] == predictions.probs[:, row].argmax(axis=1).tolist()
        for name in ("predictive_entropy", "expected_entropy", "mutual_information"):
            assert line[name] == pytest.approx(getattr(predictions, name)[row], abs=1e-6)
    assert predictions.mutual_information.max() > 0.01, "the members must differ for this to say anything"
    said = results["config"]["kvorum_uncertainty"]["mine"]["mutual_information"]
    assert said == pytest.approx(predictions.mutual_information.mean(), abs=1e-6)


def test_choices_without_their_question_are_no_candidates_of_it(fitted: Fitted, tmp_path: Path) -> None:
    ours = ensemble(fitted, tmp_path)
    evaluate(ours, fitted, "informed", "mine")
    lines = logged(ours.log)
    by_task = {task: {line["doc_id"]: line for line in lines if line["task"] == task} for task in ("informed", "mine")}
    assert len(lines) == 48
    for doc_id, line in by_task["mine"].items():
        other = by_task["informed"][doc_id]
        assert other["candidates"] == line["candidates"]
        assert other["probabilities"] == pytest.approx(line["probabilities"], abs=1e-6)


def test_the_harness_s_own_metrics_agree_for_the_untouched_model_with_a_chat_template_too(
    fitted: Fitted, tmp_path: Path
) -> None:
    ours = ensemble(fitted, tmp_path, epoch=0)
    hf = theirs(ours)
    for more in ({}, {"apply_chat_template": True, "system_instruction": "Be brief."}):
        expected, found = (evaluate(model, fitted, "informed", **more) for model in (hf, ours))
        values = [
            [
                value
                for sample in sorted(r["samples"]["informed"], key=lambda s: s["doc_id"])
                for value, _ in sample["filtered_resps"]
            ]
            for r in (expected, found)
        ]
        assert values[1] == pytest.approx(values[0], abs=1e-4) and len(values[0]) > 24
        assert found["samples"]["informed"][0]["arguments"] == expected["samples"]["informed"][0]["arguments"]


def test_requests_that_do_not_say_where_they_come_from_belong_together_by_context(
    fitted: Fitted, tmp_path: Path
) -> None:
    ours = ensemble(fitted, tmp_path)
    pairs = [("one:", " a"), ("two:", " a"), ("one:", " b"), ("two:", " c"), ("one:", " a")]
    known = [
        Instance("loglikelihood", {}, p, i, metadata=("t", int(p[0] == "two:"), 1)) for i, p in enumerate(pairs[:4])
    ]
    found = ours.loglikelihood([Instance("loglikelihood", {}, pair, 0) for pair in pairs])
    assert [v for v, _ in found[:4]] == pytest.approx([v for v, _ in ours.loglikelihood(known)], abs=1e-5)
    assert found[4] == found[0], "the same request again is no further candidate"
    assert [line["candidates"] for line in logged(ours.log)] == [2, 2, 2, 2]


def test_candidates_that_differ_in_context_are_one_document(fitted: Fitted, tmp_path: Path) -> None:
    ours = ensemble(fitted, tmp_path)
    found = ours.loglikelihood(requests(("The cat", " sat."), ("The dog ran and", " sat.")))
    (line,) = logged(ours.log)
    assert line["candidates"] == 2 and line["predicted"] == int(np.argmax([value for value, _ in found]))


def test_what_is_not_offered_is_said(fitted: Fitted, tmp_path: Path) -> None:
    ours = ensemble(fitted, tmp_path)
    with pytest.raises(NotImplementedError, match="generates no text"):
        evaluate(ours, fitted, "said")
    with pytest.raises(NotImplementedError, match="perplexity"):
        EnsembleLM.loglikelihood_rolling(None, [])  # type: ignore[arg-type]
    with pytest.raises(KvorumError, match=r"no 'epochs'; did you mean 'epoch'"):
        EnsembleLM(run=fitted.run, epochs=1)
    with pytest.raises(KvorumError, match="which run"):
        EnsembleLM()
    with pytest.raises(KvorumError, match="is there already"):
        EnsembleLM(run=fitted.run, log=tmp_path / "log.jsonl")


def test_the_harness_s_cache_of_single_candidates_is_refused(fitted: Fitted, tmp_path: Path) -> None:
    with pytest.raises(KvorumError, match="--use_cache keeps single candidates"):
        evaluate(ensemble(fitted, tmp_path), fitted, "mine", use_cache=str(tmp_path / "cache"))


@pytest.mark.parametrize(("task", "says"), [("nosuch", "nosuch"), ("said", "generates no text")])
def test_a_task_that_cannot_be_scored_ends_the_command_with_one_line_and_no_empty_log(
    fitted: Fitted, tmp_path: Path, capsys: pytest.CaptureFixture[str], task: str, says: str
) -> None:
    named = f"run={fitted.run},log={tmp_path / 'log.jsonl'}"
    asked = ["lm-eval", "--model", "kvorum", "--model_args", named, "--tasks", task]
    with pytest.raises(SystemExit) as end:
        main([*asked, "--include_path", str(fitted.tasks)])
    said = capsys.readouterr().err
    assert end.value.code == 2 and "kvorum: lm-eval: " in said and says in said and "Traceback" not in said
    del end
    gc.collect()
    assert not (tmp_path / "log.jsonl").exists()


@pytest.mark.slow
@pytest.mark.parametrize("log", ["asked for", "by default"])
def test_the_command_takes_the_harness_s_own_flags(
    fitted: Fitted, tmp_path: Path, capsys: pytest.CaptureFixture[str], log: str
) -> None:
    before = sys.argv[:]
    named = f",log={tmp_path / 'log.jsonl'}" if log == "asked for" else ""
    asked = ["--model", "kvorum", "--model_args", f"run={fitted.run}{named}", "--tasks", "mine", "--limit", "5"]
    main(["lm-eval", *asked, "--include_path", str(fitted.tasks), "--output_path", str(tmp_path / "out")])
    assert sys.argv == before and "acc_norm" in capsys.readouterr().out
    file = tmp_path / "log.jsonl" if named else max((fitted.run / "lm_eval").glob("*.jsonl"))
    assert [line["doc_id"] for line in logged(file)] == list(range(5))
    (results,) = (tmp_path / "out").rglob("results_*.json")
    accuracy = json.loads(results.read_text())["results"]["mine"]["acc,none"]
    first = kvorum.load_task(str(fitted.questions)).train[:5]
    assert accuracy == pytest.approx(kvorum.load(fitted.run).predict(first).accuracy())
    assert not Run.open(fitted.run).damage(), "what lies beside the run's files does them no harm"


@pytest.mark.slow
def test_a_mistake_ends_the_command_with_one_line(fitted: Fitted, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(
            [
                "lm-eval",
                "--model",
                "kvorum",
                "--model_args",
                "run=nowhere",
                "--tasks",
                "mine",
                "--include_path",
                str(fitted.tasks),
            ]
        )
    assert end.value.code == 2 and "kvorum: nowhere: no such directory" in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_runs_in_a_process_of_its_own(fitted: Fitted, tmp_path: Path) -> None:
    asked = ["lm-eval", "run", "--model", "kvorum", "--model_args", f"run={fitted.run}", f"log={tmp_path / 'l.jsonl'}"]
    asked += ["--tasks", "mine", "--include_path", str(fitted.tasks), "--batch_size", "2"]
    code = "from kvorum.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code, *asked], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "|mine" in done.stdout and len(logged(tmp_path / "l.jsonl")) == 24
