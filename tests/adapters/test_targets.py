import pytest
import torch

from kvorum.adapters import find_targets
from kvorum.errors import KvorumError
from tests import tiny


def names(model: str, wanted: list[str]) -> list[str]:
    return [target.name for target in find_targets(tiny.model(model), wanted)]


def test_all_linear_is_every_linear_map_but_the_head() -> None:
    llama = names("llama", ["all-linear"])
    assert len(llama) == 3 * 7 and not any("lm_head" in name for name in llama)
    assert len(names("gpt2", ["all-linear"])) == 3 * 4
    assert len(names("phi3", ["all-linear"])) == 3 * 4


@pytest.mark.parametrize("name", ["mixtral", "gpt_oss"])
def test_experts_and_routers_that_are_no_linear_maps_are_left_out_with_a_warning(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert names(name, ["all-linear"]) == [f"model.layers.{i}.self_attn.{p}_proj" for i in range(3) for p in "qkvo"]
    assert "leaves out 6 stacked parameters, such as model.layers.0.mlp.experts.gate_up_proj" in caplog.text


def test_a_name_that_experts_share_with_a_linear_map_warns_of_the_experts(caplog: pytest.LogCaptureFixture) -> None:
    model = tiny.model("mixtral")
    model.model.layers[1].mlp.down_proj = torch.nn.Linear(48, 32)
    assert [target.name for target in find_targets(model, ["down_proj"])] == ["model.layers.1.mlp.down_proj"]
    assert "'down_proj' leaves out 3 stacked parameters" in caplog.text


def test_a_dense_model_gives_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    names("llama", ["all-linear"])
    assert not caplog.records


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("gate_up_proj", r"gate_up_proj, a parameter of a MixtralExperts; adapters go on Linear"),
        ("gate", r"mlp\.gate, a MixtralTopKRouter; adapters go on Linear"),
        ("experts", r"mlp\.experts, a MixtralExperts; adapters go on Linear"),
    ],
)
def test_experts_and_routers_that_are_asked_for_are_refused(wanted: str, message: str) -> None:
    with pytest.raises(KvorumError, match=message):
        find_targets(tiny.model("mixtral"), [wanted])


def test_a_name_matches_whole_parts_from_the_end() -> None:
    assert names("llama", ["q_proj"]) == [f"model.layers.{i}.self_attn.q_proj" for i in range(3)]
    assert names("llama", ["layers.1.mlp.up_proj", "layers.1.mlp.up_proj"]) == ["model.layers.1.mlp.up_proj"]
    assert [t.in_features for t in find_targets(tiny.model("gpt2"), ["c_fc"])] == [32] * 3
    assert [t.out_features for t in find_targets(tiny.model("gpt2"), ["c_fc"])] == [128] * 3


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (["q_porj"], "called 'q_porj'; did you mean 'q_proj'"),
        (["proj"], "no module of LlamaForCausalLM is called 'proj'"),
        (["self_attn"], "a LlamaAttention; adapters go on Linear"),
        ([], "no target modules are named"),
    ],
)
def test_what_matches_nothing_or_no_linear_map_is_an_error(wanted: list[str], message: str) -> None:
    with pytest.raises(KvorumError, match=message):
        find_targets(tiny.model(), wanted)
