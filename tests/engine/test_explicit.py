"""Attention written out, against PyTorch's and against transformers' eager functions."""

from types import SimpleNamespace

import pytest
import torch
from transformers.models.gemma2.modeling_gemma2 import eager_attention_forward as gemma2_attention
from transformers.models.gpt_oss.modeling_gpt_oss import eager_attention_forward as gpt_oss_attention

from kvorum.engine import build_pack
from kvorum.engine.explicit import explicit_attention
from kvorum.engine.pack import Item
from tests import tiny

HEADS, KEY_HEADS, DIM = 6, 2, 8


@pytest.fixture(params=[None, 4], ids=["full", "windowed"])
def allowed(request: pytest.FixtureRequest) -> torch.Tensor:
    layout = build_pack([Item(0, question) for question in tiny.questions(3, "text")]).layout
    return layout.allowed(request.param).unsqueeze(1)


def heads(allowed: torch.Tensor, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    sequences, length = allowed.shape[0], allowed.shape[-1]
    return [torch.randn(sequences, n, length, DIM, generator=draw).to(dtype) for n in (HEADS, KEY_HEADS, KEY_HEADS)]


def additive(allowed: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.zeros(allowed.shape, dtype=dtype).masked_fill(~allowed, torch.finfo(dtype).min)


def test_without_softcap_and_sinks_it_is_pytorch_s_attention(allowed: torch.Tensor) -> None:
    q, k, v = heads(allowed)
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=allowed, enable_gqa=True)
    torch.testing.assert_close(explicit_attention(q, k, v, allowed), expected, atol=1e-5, rtol=1e-5)


# In bfloat16 both round the scores, which are then of size 1 and some 2^-8 off.
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
def test_a_softcap_is_gemma_s(allowed: torch.Tensor, dtype: torch.dtype, tolerance: float) -> None:
    q, k, v = heads(allowed, dtype)
    module = SimpleNamespace(num_key_value_groups=HEADS // KEY_HEADS, training=False)
    expected, _ = gemma2_attention(module, q, k, v, additive(allowed, dtype), scaling=0.5, softcap=1.5)
    got = explicit_attention(q, k, v, allowed, scaling=0.5, softcap=1.5)
    torch.testing.assert_close(got.transpose(1, 2), expected, atol=tolerance, rtol=tolerance)
    other = explicit_attention(q, k, v, allowed, scaling=0.5, softcap=3.0)
    assert (other.transpose(1, 2) - expected).abs().max() > 0.1, "a wrong soft-cap would not be noticed"


# In bfloat16 gpt-oss rounds the weights inside its softmax too.
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
def test_sinks_are_gpt_oss_s(allowed: torch.Tensor, dtype: torch.dtype, tolerance: float) -> None:
    q, k, v = heads(allowed, dtype)
    sinks = torch.linspace(-2, 3, HEADS).to(dtype)
    module = SimpleNamespace(num_key_value_groups=HEADS // KEY_HEADS, training=False, sinks=sinks)
    expected, _ = gpt_oss_attention(module, q, k, v, additive(allowed, dtype), scaling=0.5)
    got = explicit_attention(q, k, v, allowed, scaling=0.5, sinks=sinks)
    torch.testing.assert_close(got.transpose(1, 2), expected, atol=tolerance, rtol=tolerance)
    other = explicit_attention(q, k, v, allowed, scaling=0.5, sinks=sinks.flip(0))
    assert (other.transpose(1, 2) - expected).abs().max() > 0.1, "sinks on the wrong heads would not be noticed"
