"""Base models that bitsandbytes holds in 4 and 8 bits, on a CPU."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import nn

from kvorum.adapters import Attachment, find_targets, kaiming_uniform_stack
from kvorum.engine import Item, attached, build_pack, compiled, load_base, planned_base, score_pack, unpacked
from kvorum.engine.planned import without_values
from kvorum.errors import KvorumError
from kvorum.posterior.live import LiveBytes
from tests import tiny

BITS = pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes, which quantises, is not installed"
)


@BITS
@pytest.mark.parametrize(("quantize", "at_most"), [("4bit", 0.2), ("8bit", 0.5)])
def test_linear_maps_but_the_head_are_quantised_and_still_targets(
    tiny_model: str, quantize: Any, at_most: float
) -> None:
    whole, held = load_base(tiny_model), load_base(tiny_model, quantize=quantize)
    targets = find_targets(held.model, ["all-linear"])
    assert targets == find_targets(whole.model, ["all-linear"])
    modules = dict(held.model.named_modules())
    assert not any(modules[target.name].weight.is_floating_point() for target in targets)  # pyright: ignore
    assert type(held.model.get_output_embeddings()) is nn.Linear
    assert (held.parameters, held.revision) == (whole.parameters, whole.revision)
    rest = whole.bytes - sum(4 * t.in_features * t.out_features for t in targets)
    assert held.bytes - rest < at_most * (whole.bytes - rest)
    planned = planned_base(tiny_model, quantize=quantize)
    assert planned.bytes == pytest.approx(held.bytes, rel=1e-3)


@BITS
@pytest.mark.parametrize("quantize", ["4bit", "8bit"])
def test_a_token_s_result_does_not_hang_on_the_others_in_the_pass(tiny_model: str, quantize: Any) -> None:
    model: Any = load_base(tiny_model, quantize=quantize).model
    part = model.model.layers[0].mlp.up_proj
    x = torch.randn(6, 32)
    x[0] *= 1000  # beyond what LLM.int8 would spare a column for, had it looked
    with torch.no_grad():
        torch.testing.assert_close(part(x)[1:], part(x[1:]), atol=1e-6, rtol=1e-5)
        assert (part(x) - x @ part(torch.eye(32)).T.mT).abs().max() < 1e-3 * part(x).abs().max()


@BITS
@pytest.mark.parametrize("quantize", ["4bit", "8bit"])
def test_it_learns_what_it_scores(tiny_model: str, quantize: Any) -> None:
    """The passes with gradients and those without are one function: else a fit would learn another model."""
    base = load_base(tiny_model, quantize=quantize)
    stack = kaiming_uniform_stack(find_targets(base.model, ["all-linear"]), members=[0], rank=2, alpha=4.0, seed=0)
    pack = build_pack([Item(0, question) for question in tiny.questions(4, "text")])
    with attached(base.model, stack) as attachment:
        with torch.no_grad():
            scored = score_pack(attachment, pack, answer_format="text").log_probs
        for parameter in stack.parameters():
            parameter.requires_grad_(True)
        learned = score_pack(attachment, pack, answer_format="text").log_probs
        with torch.no_grad():
            again = score_pack(attachment, pack, answer_format="text").log_probs
    torch.testing.assert_close(scored, learned.detach(), atol=1e-4, rtol=1e-4)
    assert torch.equal(scored, again)


@pytest.mark.parametrize("loading", [planned_base, pytest.param(load_base, marks=BITS)])
def test_a_mixture_whose_experts_stay_whole_is_told_of(
    tmp_path: Path, tiny_model: str, loading: Any, caplog: pytest.LogCaptureFixture
) -> None:
    tiny.model("mixtral").save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    loading(str(tmp_path), quantize="4bit")
    assert "quantize 4bit leaves 6 stacked parameters at full size" in caplog.text
    assert "mlp.experts" in caplog.text
    caplog.clear()
    loading(tiny_model, quantize="4bit")
    assert "stacked" not in caplog.text


@pytest.mark.parametrize(("quantize", "whole"), [("4bit", True), ("8bit", False)])
def test_planned_it_makes_as_much_of_a_weight_at_once(
    tiny_model: str, quantize: Any, whole: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpacked, "NUMBERS_AT_ONCE", 64)
    part = planned_base(tiny_model, quantize=quantize).model.get_submodule("model.layers.0.mlp.up_proj")
    for one in (part, without_values(part)):
        x = torch.ones(1, 32, requires_grad=True)
        with LiveBytes() as counted:
            one(x).sum().backward()
        assert (counted.peak > 4 * 32 * 48) == whole


def test_what_the_gpus_do_not_hold_is_said_with_what_to_do(tiny_model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        # The words of transformers.quantizers.quantizer_bnb_4bit.
        raise ValueError("Some modules are dispatched on the CPU or the disk. Make sure you have enough GPU RAM")

    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", refuse)
    with pytest.raises(KvorumError, match=r"the GPUs do not hold all of model .* or say --device-map auto with --quan"):
        load_base(tiny_model)


@BITS
def test_its_layers_are_not_compiled(tiny_model: str, caplog: pytest.LogCaptureFixture) -> None:
    base = load_base(tiny_model, quantize="8bit")
    stack = kaiming_uniform_stack(find_targets(base.model, ["q_proj"]), members=[0], rank=2, alpha=4.0, seed=0)
    with caplog.at_level("INFO"), Attachment(base.model, stack) as attachment, compiled(attachment, [], "text"):
        assert "forward" not in base.model.model.layers[0].__dict__  # pyright: ignore
    assert "run as they are: the base model is quantised" in caplog.text


@pytest.mark.parametrize(
    ("absent", "asked"), [("bitsandbytes", {"quantize": "4bit"}), ("accelerate", {"device_map": "auto"})]
)
def test_a_package_that_is_not_there_is_named_before_anything_is_loaded(
    tiny_model: str, monkeypatch: pytest.MonkeyPatch, absent: str, asked: Any
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == absent else real(name, *rest))
    with pytest.raises(KvorumError, match=rf"{absent}; pip install 'kvorum\[quantized\]'"):
        load_base(tiny_model, **asked)
    # To plan with, it need not be there.
    assert planned_base(tiny_model, quantize=asked.get("quantize", "off")).planned is not None
