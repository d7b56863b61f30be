"""Weights that stay as a GGUF file has them, against the same file made whole."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from kvorum.adapters import find_targets
from kvorum.engine import load_base, planned_base
from kvorum.errors import KvorumError

pytest.importorskip("gguf")

from tests import tiny_gguf


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_gguf.save(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


def test_a_file_whose_rows_are_not_moved_is_kept_too(tmp_path: Path) -> None:
    file = tiny_gguf.save(tmp_path / "qwen2.gguf", architecture="qwen2")
    tokens = tiny_gguf.tokens_of(9)
    with torch.no_grad():
        kept, whole = (load_base(file, quantize=way).model(tokens).logits for way in ("gguf", "off"))
    torch.testing.assert_close(kept, whole, atol=1e-5, rtol=1e-5)


def test_it_computes_what_the_same_file_made_whole_does_in_less_memory(file: str) -> None:
    kept, whole = load_base(file, quantize="gguf"), load_base(file)
    tokens = tiny_gguf.tokens_of(40)
    with torch.no_grad():
        torch.testing.assert_close(kept.model(tokens).logits, whole.model(tokens).logits, atol=1e-5, rtol=1e-5)
    assert kept.parameters == whole.parameters and kept.revision == whole.revision
    assert kept.bytes < whole.bytes / 3
    held = [p for p in kept.model.parameters() if p.ndim > 1]
    assert {p.dtype for p in held} == {torch.uint8} and kept.model.dtype == torch.float32
    # One table for both, as in the file.
    assert kept.model.get_output_embeddings().weight is kept.model.get_input_embeddings().weight  # pyright: ignore


def test_its_linear_maps_are_targets_of_their_own_shapes_but_for_the_head(file: str) -> None:
    kept, whole = load_base(file, quantize="gguf"), load_base(file)
    assert find_targets(kept.model, ["all-linear"]) == find_targets(whole.model, ["all-linear"])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_its_numbers_are_those_of_the_whole_weight_in_any_precision(file: str, dtype: Any) -> None:
    kept, whole = (load_base(file, quantize=way, dtype=dtype).model for way in ("gguf", "off"))
    tokens = tiny_gguf.tokens_of(9)
    assert torch.equal(kept.get_input_embeddings()(tokens), whole.get_input_embeddings()(tokens))
    for name, module in whole.named_modules():
        if isinstance(module, nn.Linear):
            ones = torch.eye(module.in_features, dtype=module.weight.dtype)
            assert torch.equal(kept.get_submodule(name)(ones), module.weight.T), name


def test_gradients_go_back_through_it_as_through_the_whole_weight(file: str) -> None:
    kept, whole = load_base(file, quantize="gguf"), load_base(file)
    name = "model.layers.1.mlp.down_proj"
    x = torch.randn(2, 5, tiny_gguf.INNER)
    found = []
    for base in (kept, whole):
        here = x.clone().requires_grad_()
        base.model.get_submodule(name)(here).square().sum().backward()
        found.append(here.grad)
    torch.testing.assert_close(*found)


def test_without_weights_it_takes_as_much(file: str) -> None:
    planned, kept = planned_base(file, quantize="gguf"), load_base(file, quantize="gguf")
    assert (planned.bytes, planned.parameters) == (kept.bytes, kept.parameters)
    assert {p.device.type for p in planned.model.parameters()} == {"meta"}
    assert planned.tokenizer("ab").input_ids == kept.tokenizer("ab").input_ids


def test_what_cannot_be_kept_is_refused(file: str, tmp_path: Path) -> None:
    with pytest.raises(KvorumError, match=r"keeps what a \.gguf file holds, and '.*' is none"):
        load_base(str(tmp_path), quantize="gguf")
    with pytest.raises(KvorumError, match="would be rounded twice; say --quantize gguf"):
        load_base(file, quantize="4bit")
    other = tiny_gguf.save(tmp_path / "other.gguf", architecture="bloom")
    with pytest.raises(KvorumError, match="weights of a 'bloom' must be made whole to be read; leave quantize off"):
        load_base(other, quantize="gguf")


def test_no_module_of_its_own_is_left_once_it_is_loaded(file: str) -> None:
    load_base(file, quantize="gguf")
    kinds = {type(module) for module in load_base(file).model.modules()}
    assert nn.Linear in kinds and not any("Gguf" in kind.__name__ for kind in kinds)
