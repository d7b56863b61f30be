"""Models that would let questions see one another, or that packed attention cannot honour, are refused."""

import pytest
import torch
import transformers

from kvorum.engine import attached, attention, build_pack, packed_attention, verify_packed
from kvorum.engine.attention import packed
from kvorum.engine.pack import Item
from kvorum.errors import KvorumError
from tests import tiny


@pytest.mark.parametrize("name", tiny.ARCHITECTURES)
def test_sound_models_pass_and_keep_their_mode(name: str) -> None:
    model = tiny.model(name).train()
    verify_packed(model)
    assert model.training


def test_alibi_is_refused() -> None:
    model = transformers.BloomForCausalLM(transformers.BloomConfig(vocab_size=97, hidden_size=32, n_layer=2, n_head=4))
    with pytest.raises(KvorumError):
        verify_packed(model)


def test_a_model_that_mixes_tokens_outside_attention_is_refused() -> None:
    model = tiny.model()
    up = model.model.layers[0].mlp.up_proj
    up.register_forward_pre_hook(lambda module, inputs: (inputs[0] + 0.5 * inputs[0].roll(1, dims=-2),))
    with pytest.raises(KvorumError, match="gives other results for questions packed together"):
        verify_packed(model)


@pytest.mark.parametrize(("name", "lost"), [("gemma2", "softcap"), ("gpt_oss", "sinks")])
def test_explicit_attention_that_loses_a_softcap_or_sinks_is_noticed(
    name: str, lost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = attention.explicit_attention
    monkeypatch.setattr(attention, "explicit_attention", lambda *a, **named: whole(*a, **(named | {lost: None})))
    with pytest.raises(KvorumError, match="gives other results for questions packed together"):
        verify_packed(tiny.model(name))


def test_an_encoder_decoder_is_refused() -> None:
    model = transformers.T5ForConditionalGeneration(
        transformers.T5Config(vocab_size=97, d_model=16, d_kv=4, d_ff=16, num_layers=1, num_heads=2)
    )
    with pytest.raises(KvorumError, match="encoder-decoder"):
        verify_packed(model)


@pytest.mark.parametrize("extra", [{"position_bias": torch.zeros(4)}, {"head_mask": torch.ones(4)}, {"dropout": 0.1}])
def test_attention_refuses_what_it_cannot_honour(extra: dict) -> None:
    layout = build_pack([Item(0, q) for q in tiny.questions(1, "letter")]).layout
    tokens = len(layout.scatter)
    q = k = v = torch.zeros(1, 4, tokens, 8)
    with pytest.raises(KvorumError, match=next(iter(extra))):
        packed_attention(torch.nn.Identity(), q, k, v, None, kvorum_layout=layout, **extra)
    with pytest.raises(KvorumError, match="mask"):
        packed_attention(torch.nn.Identity(), q, k, v, torch.ones(1, tokens), kvorum_layout=layout)
    with pytest.raises(KvorumError, match="without the layout"):
        packed_attention(torch.nn.Identity(), q, k, v, None)


def test_the_attention_of_a_model_comes_back_after_an_error() -> None:
    model = tiny.model()
    before = model.config._attn_implementation
    with pytest.raises(RuntimeError), packed(model):
        raise RuntimeError
    assert model.config._attn_implementation == before


def test_a_target_past_which_tokens_are_routed_is_refused() -> None:
    from kvorum.adapters import Route, find_targets, kaiming_uniform_stack

    model = tiny.model()
    stack = kaiming_uniform_stack(find_targets(model, ["up_proj"]), members=[0], rank=2, alpha=2.0, seed=0)
    three_tokens = Route.of((0,), (3,), members=1, device=torch.device("cpu"))
    with (
        attached(model, stack) as attachment,
        attachment.routed(three_tokens),
        pytest.raises(KvorumError, match="routes tokens past it"),
    ):
        model.model.layers[0].mlp.up_proj(torch.zeros(1, 2, 32))
