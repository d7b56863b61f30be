import pytest

from kvorum.adapters import find_targets
from kvorum.errors import KvorumError
from tests import tiny


def names(model: str, wanted: list[str]) -> list[str]:
    return [target.name for target in find_targets(tiny.model(model), wanted)]


def test_all_linear_is_every_linear_map_but_the_head() -> None:
    llama = names("llama", ["all-linear"])
    assert len(llama) == 3 * 7 and not any("lm_head" in name for name in llama)
    assert len(names("gpt2", ["all-linear"])) == 3 * 4


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
