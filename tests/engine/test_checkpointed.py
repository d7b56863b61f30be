"""Layers computed twice give the same gradients, and keep less."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kvorum.adapters import Attachment, find_targets, kaiming_uniform_stack
from kvorum.engine import Item, attached, build_pack, checkpointed, compiled, score_pack
from kvorum.engine.checkpointed import is_checkpointed
from kvorum.engine.last_layer import decoder_layers
from kvorum.errors import KvorumError
from tests import tiny


def gradients(model: Any, twice: bool, dropout: float = 0.0, answer_format: Any = "text") -> tuple[list[Tensor], int]:
    """Of every adapter, and how many bytes are kept for them after the forward pass."""
    stack = kaiming_uniform_stack(find_targets(model, ["all-linear"]), members=range(3), rank=2, alpha=4.0, seed=0)
    for parameter in stack.parameters():
        torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(parameter.numel()))
        parameter.requires_grad_(True)
    questions = tiny.questions(4, answer_format)
    items = [Item(m, q, dropout_seed=7 * m + 1 if dropout else 0) for m in range(3) for q in questions]
    kept: dict[int, int] = {}

    def keep(one: Tensor) -> Tensor:
        kept[one.untyped_storage().data_ptr()] = one.untyped_storage().nbytes()
        return one

    with attached(model, stack, dropout=dropout) as attachment, checkpointed(attachment, wanted=twice):
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda one: one):
            scores = score_pack(attachment, build_pack(items), answer_format=answer_format, dropout=dropout > 0)
        after_forward = sum(kept.values())
        scores.log_probs[:, 0].sum().backward()
    found = [parameter.grad for parameter in stack.parameters()]
    assert all(one is not None for one in found)
    return found, after_forward  # pyright: ignore[reportReturnType]


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2", "gpt_oss", "opt"])
def test_gradients_are_the_same_and_less_is_kept(name: str, dropout: float) -> None:
    model = tiny.model(name)
    (once, kept), (twice, kept_twice) = (gradients(model, way, dropout) for way in (False, True))
    for one, two in zip(once, twice, strict=True):
        torch.testing.assert_close(one, two, atol=1e-6, rtol=1e-5)
    assert max(float(one.abs().max()) for one in once) > 1e-3
    assert kept_twice < kept / 2


def test_by_letter_the_last_layer_is_cut_in_both_passes() -> None:
    model = tiny.model()
    (once, _), (twice, _) = (gradients(model, way, answer_format="letter") for way in (False, True))
    for one, two in zip(once, twice, strict=True):
        torch.testing.assert_close(one, two, atol=1e-6, rtol=1e-5)


def test_the_model_comes_back_as_it_was_and_is_not_compiled_meanwhile(caplog: pytest.LogCaptureFixture) -> None:
    model: Any = tiny.model()
    # A user's own checkpointing, for later, and a forward of their own.
    layers: list[Any] = decoder_layers(model)
    for layer in layers:
        layer.gradient_checkpointing = True
    layers[1].forward = layers[1].forward
    stack = kaiming_uniform_stack(find_targets(model, ["q_proj"]), members=[0], rank=2, alpha=4.0, seed=0)
    with attached(model, stack) as attachment:
        before = [dict(layer.__dict__) for layer in layers]
        with checkpointed(attachment, wanted=True), caplog.at_level("INFO"), compiled(attachment, [], "text"):
            assert all(is_checkpointed(layer) for layer in layers)
            # So that no dropout of the model's own acts.
            assert not any(layer.training for layer in layers)
        assert "computed twice" in caplog.text
        assert [layer.__dict__ for layer in layers] == before
        assert before[0]["gradient_checkpointing"] and not is_checkpointed(layers[0])


def test_a_model_without_such_layers_is_refused() -> None:
    class Other(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part = nn.Linear(4, 4)

    model = Other()
    stack = kaiming_uniform_stack(find_targets(model, ["part"]), members=[0], rank=2, alpha=4.0, seed=0)
    with Attachment(model, stack) as attachment:
        twice = checkpointed(attachment, wanted=True)
        with pytest.raises(KvorumError, match="Other has no layers that transformers can compute twice"):
            twice.__enter__()
