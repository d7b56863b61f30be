"""What is sent to another device."""

from typing import Any

import pytest
import torch

from kvorum.adapters.transfer import sent


@pytest.mark.parametrize(("kind", "waits"), [("cpu", True), ("meta", False)])
def test_nothing_is_read_on_a_cpu_before_it_has_come(kind: str, waits: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(torch.Tensor, "to", lambda one, *_, non_blocking: asked.append(non_blocking) or one)
    sent(torch.ones(3), torch.device(kind))
    assert asked == [not waits]
