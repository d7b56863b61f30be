"""A GPU whose memory is too small, played by a CPU: passes of more tokens than so many fail as they would there."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import kvorum
from kvorum.posterior import objective, scoring
from kvorum.posterior.memory import within_memory

SETTINGS: dict[str, Any] = {"members": 3, "rank": 2, "epochs": 2, "batch_size": 4, "lr": 1e-2, "dropout": 0.1}


def small_memory(monkeypatch: pytest.MonkeyPatch, holds: int, where: Any) -> list[int]:
    """Let no pass hold more tokens than that; returns the sizes of those that were tried."""
    real: Callable[..., Any] = where.score_pack
    tried: list[int] = []

    def score_pack(attachment: Any, pack: Any, **rest: Any) -> Any:
        tried.append(len(pack.input_ids))
        scores = real(attachment, pack, **rest)
        # Only after the forward pass, so that what is left behind of it would show.
        if len(pack.input_ids) > holds:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate more.\nand a second line")
        return scores

    monkeypatch.setattr(where, "score_pack", score_pack)
    return tried


def test_a_step_that_does_not_fit_is_done_again_with_half_the_tokens_and_the_same_result(
    tiny_model: str,
    question_file: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    roomy = kvorum.fit(tiny_model, question_file, **SETTINGS, out=str(tmp_path / "roomy"), token_budget=4000)
    tried = small_memory(monkeypatch, 150, objective)
    with caplog.at_level(logging.WARNING):
        tight = kvorum.fit(tiny_model, question_file, **SETTINGS, out=str(tmp_path / "tight"), token_budget=4000)
    budgets = [int(record.args[1]) for record in caplog.records if "out of memory" in record.message]  # pyright: ignore
    assert budgets == [2000, 1000, 500, 250, 125], "halved until it fits, and kept from then on"
    assert "CUDA out of memory. Tried to allocate more." in caplog.text and "second line" not in caplog.text
    assert sum(size > 150 for size in tried) == 5
    for one, two in zip(roomy.stack.parameters(), tight.stack.parameters(), strict=True):
        torch.testing.assert_close(one, two, atol=2e-5, rtol=1e-4)
    logs = [kvorum.Run.open(tmp_path / name).log for name in ("roomy", "tight")]
    assert [line["step"] for line in logs[0]] == [line["step"] for line in logs[1]]
    np.testing.assert_allclose(*[[line["loss"] for line in log] for log in logs], rtol=1e-4)


def test_scoring_goes_on_with_fewer_tokens_too(
    tiny_model: str, question_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted = kvorum.fit(tiny_model, question_file, **SETTINGS)
    expected = fitted.predict(question_file)
    tried = small_memory(monkeypatch, 200, scoring)
    found = fitted.predict(question_file)
    assert max(tried) > 200 >= tried[-1]
    np.testing.assert_allclose(found.probs, expected.probs, atol=1e-6)


def test_where_not_one_question_fits_it_says_what_would(
    tiny_model: str, question_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_memory(monkeypatch, 10, objective)
    with pytest.raises(kvorum.KvorumError, match=r"not hold even one question of \d+ tokens .* fewer --members"):
        kvorum.fit(tiny_model, question_file, **SETTINGS)


def test_an_optimizer_that_does_not_fit_is_no_matter_of_tokens(
    tiny_model: str, question_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def step(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    with pytest.raises(kvorum.KvorumError, match="does not hold the optimizer's state"):
        kvorum.fit(tiny_model, question_file, **SETTINGS)


def test_other_errors_are_not_taken_for_a_lack_of_memory() -> None:
    def attempt(budget: int) -> int:
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        within_memory(attempt, 100, longest=10)
