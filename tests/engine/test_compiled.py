"""Compiled layers compute what plain ones do, or are not used."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from kvorum.adapters import Attachment, find_targets, kaiming_uniform_stack
from kvorum.engine import Item, attached, build_pack, score_pack
from kvorum.engine.compiled import compiled
from kvorum.engine.last_layer import decoder_layers
from tests import tiny

ROOT = Path(__file__).parents[2]
ITEMS = [Item(m, question) for m in (0, 1) for question in tiny.questions(2, "text")]


@pytest.mark.slow
def test_a_fit_with_compiled_layers_equals_one_without(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.engine.fit_compiled"],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    if any("not compiled" in message for message in found["warnings"]):
        pytest.skip(f"no compiler here: {found['warnings']}")
    assert not found["warnings"]
    for answer_format in ("text", "letter"):
        told = found[answer_format]
        assert told["compiled"] == [True, True, False], "all but the last"
        assert told["moved"] > 1e-3 and told["gradients"] < 1e-5 and told["adapters"] < 1e-4
        assert told["left"] == []
        assert told["graphs"] > 0 and told["more"] == 0, "compiled again for other packs"


@contextlib.contextmanager
def attachment(dropout: float = 0.0) -> Iterator[Attachment]:
    model = tiny.model()
    stack = kaiming_uniform_stack(find_targets(model, ["all-linear"]), members=[0, 1], rank=2, alpha=4.0, seed=0)
    for b in stack.b.values():
        b.fill_(0.05)
    for parameter in stack.parameters():
        parameter.requires_grad_(True)
    with attached(model, stack, dropout=dropout) as found:
        yield found


def forwards(attachment: Attachment) -> list[Any]:
    return [layer.__dict__.get("forward") for layer in decoder_layers(attachment.model)]


def scores(attachment: Attachment) -> torch.Tensor:
    return score_pack(attachment, build_pack(ITEMS), answer_format="text").log_probs.detach()


def compile_by(monkeypatch: pytest.MonkeyPatch, made: Callable) -> list[Callable]:
    """`made` in the place of what a compiler makes of a function; returns what it was asked to compile."""
    asked: list[Callable] = []
    monkeypatch.setattr(torch, "compile", lambda f, **_: (asked.append(f), lambda *a, **k: made(f(*a, **k)))[1])
    return asked


def failing(*_: Any, **__: Any) -> Any:
    raise RuntimeError("no compiler\nfor this machine")


@pytest.mark.parametrize("when", ["at once", "when called"])
def test_without_a_compiler_the_layers_run_as_they_are(
    when: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch, "compile", failing if when == "at once" else lambda f, **_: failing)
    with attachment() as found:
        expected = scores(found)
        with compiled(found, ITEMS, "text"):
            assert forwards(found) == [None] * 3
            assert torch.equal(scores(found), expected)
    (record,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert "runs as it is, more slowly (RuntimeError: no compiler)" in record.getMessage()


@pytest.mark.parametrize(
    "wrong",
    [lambda x: 1.5 * x, lambda x: x * torch.nan, lambda x: 2 * x - x.detach()],
    ids=["outputs", "nan", "gradients"],
)
def test_compiled_layers_with_other_results_are_not_used(
    wrong: Callable, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked = compile_by(monkeypatch, wrong)
    with attachment() as found:
        expected = scores(found)
        with compiled(found, ITEMS, "text"):
            assert len(asked) == 2 and forwards(found) == [None] * 3
            assert torch.equal(scores(found), expected)
    (record,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert "gives other results" in record.getMessage()


def test_good_layers_are_used_inside_the_block_and_taken_off_after_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked = compile_by(monkeypatch, lambda x: x)
    with attachment() as found:
        first, second, last = decoder_layers(found.model)
        own = first.forward
        second.forward = own_second = second.forward
        with pytest.raises(RuntimeError, match="on purpose"), compiled(found, ITEMS, "text"):
            assert asked == [own, own_second]
            assert all(forwards(found)[:2]) and second.forward is not own_second
            assert "forward" not in last.__dict__, "the last layer computes less"
            raise RuntimeError("on purpose")
        assert forwards(found) == [None, own_second, None], "one that was there before is put back"
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_dropout_leaves_layers_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = compile_by(monkeypatch, lambda x: x)
    with attachment(dropout=0.5) as found, compiled(found, ITEMS, "text"):
        assert not asked and forwards(found) == [None] * 3
