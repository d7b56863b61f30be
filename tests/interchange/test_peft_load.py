"""Adapters that PEFT trained, as members: PEFT's own logits, and a refusal of everything that would give others."""

import json
import logging
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

import kvorum
from kvorum.errors import KvorumError
from kvorum.interchange.adapter_config import AdapterConfig, read_adapter_config
from kvorum.interchange.ensemble import Ensemble
from kvorum.interchange.selection import ranks_and_alphas, selected
from tests import tiny
from tests.interchange.conftest import Maker, change
from tests.interchange.logits import PROMPT, by_kvorum, by_peft

WEIGHTS = "adapter_model.safetensors"
A = "base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight"


def load(*folders: Path | str, architecture: str = "llama", **settings: Any) -> kvorum.Posterior:
    return kvorum.load_peft(list(folders), base=(tiny.model(architecture), tiny.tokenizer()), **settings)


def rewrite(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> Path:
    """The same adapter with other tensors."""
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    return folder


MEMBERS: list[dict[str, Any]] = [
    {"r": 2, "lora_alpha": 4},
    {"r": 5, "lora_alpha": 3, "target_modules": "all-linear"},
    {"r": 3, "lora_alpha": 7, "use_rslora": True, "target_modules": ["k_proj", "down_proj"]},
    {"r": 2, "rank_pattern": {"q_proj": 4, "layers.1.self_attn.v_proj": 1}, "alpha_pattern": {r"layers\.[02]\..*": 9}},
    {"r": 2, "lora_alpha": 4, "layers_to_transform": [0, 2]},
    {"r": 2, "target_modules": r".*\.(q|o)_proj", "exclude_modules": r".*layers\.1.*"},
    {"r": 2, "exclude_modules": ["layers.0.self_attn.q_proj"], "layers_to_transform": 0, "layers_pattern": "layers"},
    {"r": 1, "lora_alpha": -3, "init_lora_weights": "gaussian", "lora_dropout": 0.5},
]


def test_members_of_different_shapes_compute_what_they_compute_in_peft(adapter: Maker) -> None:
    folders = [adapter(f"m{i}", seed=i, **settings) for i, settings in enumerate(MEMBERS)]
    posterior = load(*folders)
    assert posterior.stack.members == tuple(range(len(MEMBERS))) and posterior.stack.rank == 5
    untouched = tiny.model()(torch.tensor([PROMPT])).logits[0]
    for position, folder in enumerate(folders):
        ours = by_kvorum(posterior.base.model, posterior.stack, position)
        torch.testing.assert_close(ours, by_peft(tiny.model(), folder), atol=1e-5, rtol=1e-5)
        assert (ours - untouched).abs().max() > 0.02, f"{MEMBERS[position]} does nothing"


@pytest.mark.parametrize(
    ("name", "targets"), [("gpt2", ["c_attn", "mlp.c_proj"]), ("phi3", ["qkv_proj"]), ("qwen2", "all-linear")]
)
def test_other_architectures(name: str, targets: Any, adapter: Maker) -> None:
    folders = [adapter(f"m{i}", architecture=name, seed=i, r=2 + i, target_modules=targets) for i in range(2)]
    posterior = load(*folders, architecture=name)
    for position, folder in enumerate(folders):
        ours = by_kvorum(posterior.base.model, posterior.stack, position)
        torch.testing.assert_close(ours, by_peft(tiny.model(name), folder), atol=1e-5, rtol=1e-5)


def test_half_precision_weights_are_read_as_they_are(adapter: Maker) -> None:
    folder = rewrite(adapter("half"), lambda t: t.update({name: value.bfloat16() for name, value in t.items()}))
    posterior = load(folder)
    assert posterior.stack.a["model.layers.0.self_attn.q_proj"].dtype == torch.float32
    ours = by_kvorum(posterior.base.model, posterior.stack, 0)
    torch.testing.assert_close(ours, by_peft(tiny.model(), folder), atol=1e-5, rtol=1e-5)


def test_one_scaling_of_all_members_is_kept_and_others_are_folded(adapter: Maker) -> None:
    one, two, other = adapter("one"), adapter("two", seed=1), adapter("other", lora_alpha=8)
    target = "model.layers.0.self_attn.q_proj"
    b = load_file(one / WEIGHTS)[f"base_model.model.{target}.lora_B.weight"]
    same, mixed = load(one, two).stack, load(one, other).stack
    assert same.scaling == 2 and torch.equal(same.b[target][0], b)
    assert mixed.scaling == 1 and torch.equal(mixed.b[target][0], 2 * b)


def test_patterns_and_layers_mean_what_they_mean_to_peft(adapter: Maker) -> None:
    from peft import LoraConfig
    from peft.tuners.tuners_utils import check_target_module_exists

    modules = [name for name, _ in tiny.model("gpt2").named_modules() if name]
    for settings in (
        {"target_modules": ["c_attn", "transformer.h.1.mlp.c_fc"], "layers_to_transform": [0, 2]},
        {"target_modules": ["mlp.c_proj"], "layers_to_transform": 1, "layers_pattern": ["blocks", "h"]},
        {"target_modules": r"transformer\.h\.[01]\.(attn|mlp)\.c_\w+", "exclude_modules": ["c_fc"]},
        {"target_modules": r".*\.0\.mlp\.c_fc"},
        {"target_modules": ["c_attn"], "exclude_modules": r".*h\.[01].attn.*"},
    ):
        found = selected(read_adapter_config(change(adapter("m"), **settings), "m"), modules, [], "m")
        theirs = LoraConfig(**settings)
        # PEFT answers with a truth value, with a match, or with a mark of its own that stands for "excluded".
        answers = {name: check_target_module_exists(theirs, name) for name in modules}
        wanted = [name for name, answer in answers.items() if answer is True or hasattr(answer, "group")]
        assert found == wanted and found, settings


def test_the_base_is_the_one_that_the_adapters_name(tiny_model: str, adapter: Maker) -> None:
    folder = adapter("named", base=tiny_model)
    assert kvorum.load_peft(folder).base.name == tiny_model
    with pytest.raises(KvorumError, match="do not say which base model"):
        kvorum.load_peft(change(folder, base_model_name_or_path=None))
    with pytest.raises(KvorumError, match="could not be loaded from the hub"):
        kvorum.load_peft(change(folder, base_model_name_or_path="org/nowhere"))


def test_a_base_of_another_name_is_told_of(adapter: Maker, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        load(adapter("m", base="org/other"))
    assert "name the base model 'org/other'" in caplog.text


def test_questions_are_put_as_asked(tiny_model: str, adapter: Maker, tmp_path: Path) -> None:
    file = tmp_path / "prompt.jinja"
    file.write_text("{{ question }} =>")
    folders = [adapter(f"m{i}", seed=i, base=tiny_model) for i in range(2)]
    posterior = kvorum.load_peft(folders, prompt=file, answer_format="letter", chat=True, normalisation="mean")
    assert posterior.prompt.template == "{{ question }} =>" and posterior.prompt.chat
    predictions = posterior.predict(kvorum.load_task("facts_sums").test[:3])
    assert predictions.rest.min() > 0 and predictions.mutual_information.max() > 0
    assert predictions.facts["members"] == [0, 1] and predictions.facts["model"] == tiny_model


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"peft_type": "IA3"}, "peft_type is 'IA3'; kvorum loads LORA only"),
    ({"peft_type": None}, "peft_type is None"),
    ({"use_dora": True}, "use_dora is True"),
    ({"bias": "all"}, "bias is 'all'"),
    ({"bias": "lora_only"}, "bias is 'lora_only'"),
    ({"lora_bias": True}, "lora_bias is True"),
    ({"modules_to_save": ["lm_head"]}, "modules_to_save is"),
    ({"layer_replication": [[0, 2], [1, 3]]}, "layer_replication is"),
    ({"trainable_token_indices": [3]}, "trainable_token_indices is"),
    ({"target_parameters": ["experts.down_proj"]}, "target_parameters is"),
    ({"alora_invocation_tokens": [1]}, "alora_invocation_tokens is"),
    ({"of_tomorrow": {"x": 1}}, "of_tomorrow is"),
    ({"init_lora_weights": "pissa"}, "init_lora_weights is 'pissa'"),
    ({"init_lora_weights": ["pissa"]}, "init_lora_weights is"),
    ({"r": 0}, "r is 0"),
    ({"r": True}, "r is True"),
    ({"r": "8"}, "r is '8'"),
    ({"r": 10**9}, "r is 1000000000"),
    ({"lora_alpha": float("nan")}, "lora_alpha is nan"),
    ({"lora_alpha": 1e300}, "lora_alpha is 1e\\+300"),
    ({"rank_pattern": {"q_proj": "2"}}, "rank_pattern.q_proj is '2'"),
    ({"rank_pattern": {"(": 2}}, "rank_pattern: is no regular expression"),
    ({"rank_pattern": {"q_proj": 3}}, r"has the shape \[2, 32\], the base model and the rank need \[3, 32\]"),
    ({"target_modules": None}, "target_modules"),
    ({"target_modules": "["}, "target_modules: is no regular expression"),
    ({"target_modules": ["nope"]}, "is none of the tensors that its configuration promises"),
    ({"target_modules": ["q_proj"]}, "v_proj.lora_A.weight is none of the tensors"),
    ({"target_modules": ["q_proj", "v_proj", "o_proj"]}, r"there is no base_model.*o_proj.lora_A.weight"),
    ({"target_modules": ["q_proj", "v_proj", "lm_head"]}, "adapts lm_head, the output head"),
    ({"target_modules": ["q_proj", "v_proj", "embed_tokens"]}, "adapts model.embed_tokens, a Embedding"),
    ({"target_modules": ["q_proj", "v_proj", "mlp"]}, "a LlamaMLP"),
    ({"layers_to_transform": [0], "layers_pattern": "(.*)*"}, r"layers_pattern: '\(\.\*\)\*' is no name"),
    ({"base_model_name_or_path": "a\u001b[2Jb"}, "holds control characters"),
    ({"base_model_name_or_path": 7}, "base_model_name_or_path is 7"),
]


@pytest.mark.parametrize(("settings", "says"), REFUSED, ids=lambda value: str(value)[:40])
def test_a_configuration_that_kvorum_does_not_compute_is_refused(
    settings: dict[str, Any], says: str, adapter: Maker
) -> None:
    good, bad = adapter("good"), change(adapter("bad"), **settings)
    with pytest.raises(KvorumError) as error:
        load(good, bad)
    assert re.search(says, str(error.value)), str(error.value)
    assert "bad" in str(error.value) and "\n" not in str(error.value), "the adapter is named, in one line"


def test_a_real_dora_a_real_embedding_and_whole_modules_are_refused(adapter: Maker) -> None:
    dora = change(adapter("dora", use_dora=True), use_dora=False)
    with pytest.raises(KvorumError, match=r"lora_magnitude_vector.* is of DoRA"):
        load(dora)
    embedding = change(adapter("embedding", target_modules=["q_proj", "embed_tokens"]), target_modules=["q_proj"])
    with pytest.raises(KvorumError, match="is an adapter of an embedding"):
        load(embedding)
    saved = change(adapter("saved", modules_to_save=["lm_head"]), modules_to_save=None)
    with pytest.raises(KvorumError, match=r"lm_head.weight is no part of an adapter"):
        load(saved)


def other(size: int) -> Callable[[dict[str, torch.Tensor]], Any]:
    return lambda tensors: tensors.update({A: torch.zeros(2, size)})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (other(31), r"q_proj.lora_A.weight has the shape \[2, 31\], the base model and the rank need \[2, 32\]"),
        (lambda t: t.pop(A), "there is no base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight"),
        (lambda t: t[A].fill_(float("inf")), "holds values that are not finite"),
        (lambda t: t[A][0, 0].fill_(float("nan")), "holds values that are not finite"),
        (lambda t: t.update({A: t[A].int()}), "is of type I32"),
        (
            lambda t: t.update({A.replace("layers.1", "layers.9"): t[A].clone()}),
            "adapts model.layers.9.self_attn.q_proj, which",
        ),
        (lambda t: t.update({"../../etc/passwd": t[A].clone()}), "../../etc/passwd is none of the tensors"),
        (lambda t: t.update({"x" * 5000: t[A].clone()}), r"x{110}.* is none of the tensors"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(change: Callable[[Any], Any], says: str, adapter: Maker) -> None:
    with pytest.raises(KvorumError, match=says) as error:
        load(adapter("good"), rewrite(adapter("bad"), change))
    assert "bad, adapter_model.safetensors" in str(error.value) and len(str(error.value)) < 600


def test_adapters_of_different_base_models_are_refused(adapter: Maker) -> None:
    one, two = adapter("one", base="org/tiny"), adapter("two", base="org/large")
    with pytest.raises(KvorumError, match=r"two: is of the base model 'org/large', .*one of 'org/tiny'"):
        load(one, two)
    assert len(load(one, change(two, base_model_name_or_path="/data/models/tiny/")).stack.members) == 2
    with pytest.raises(KvorumError, match="is of revision b of the base model"):
        load(change(one, revision="a"), change(two, base_model_name_or_path="org/tiny", revision="b"))
    with pytest.raises(KvorumError, match=r"has the shape|which the base model has not"):
        load(adapter("phi", architecture="gpt2", target_modules=["c_attn"]))


def test_a_pickle_is_never_opened(adapter: Maker, tmp_path: Path) -> None:
    folder = adapter("pickled")
    (folder / WEIGHTS).unlink()
    marker = tmp_path / "ran"
    (folder / "adapter_model.bin").write_bytes(f"cposix\nsystem\n(S'touch {marker}'\ntR.".encode())
    with pytest.raises(KvorumError, match=r"pickled: holds its weights as adapter_model.bin, a pickle"):
        load(folder)
    assert not marker.exists()
    (folder / "adapter_model.bin").unlink()
    with pytest.raises(KvorumError, match=r"adapter_model.safetensors cannot be read"):
        load(folder)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is no JSON"),
        (b"[" * 200_000, "is no JSON"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "is no JSON"),
        (b'{"r": ' + b"9" * 10_000 + b"}", "is no JSON"),
        (b"\xff\xfe{}", "is no JSON"),
        (b"[]", "holds a list"),
        (b" " * (4 * 2**20 + 1), "is longer than"),
        (b'{"peft_type": "LORA", "r": {"a": 1}, "lora_alpha": [], "target_modules": 3}', "r is"),
        (b'{"peft_type": "LORA", "r": 2, "lora_alpha": 2, "target_modules": {}}', "target_modules"),
    ],
)
def test_a_hostile_configuration_is_an_error_of_one_line(content: bytes, says: str, adapter: Maker) -> None:
    folder = adapter("bad")
    (folder / "adapter_config.json").write_bytes(content)
    with pytest.raises(KvorumError, match=says) as error:
        load(folder)
    assert len(str(error.value)) < 2000


def test_a_pattern_that_takes_years_is_given_up(adapter: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kvorum.interchange.selection.SECONDS", 1.0)
    folder = change(adapter("slow"), target_modules=r"(([a-z_.0-9])*)*([a-z_.0-9]*)*!")
    began = time.monotonic()
    with pytest.raises(KvorumError, match="slow, target_modules: takes longer than 1 s"):
        load(folder)
    assert time.monotonic() - began < 20


def test_weights_that_are_no_plain_file_or_damaged_are_refused(adapter: Maker) -> None:
    folder = adapter("bad")
    whole = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(KvorumError, match=r"bad, adapter_model.safetensors: is no file of tensors, or is damaged"):
        load(folder)
    (folder / WEIGHTS).unlink()
    os.mkfifo(folder / WEIGHTS)
    with pytest.raises(KvorumError, match="is no plain file"):
        load(folder)


@pytest.mark.parametrize("name", ["nowhere", "../a/b", "a/b/c", "user/na me", "a/..", "-x/y", ""])
def test_what_is_no_folder_and_no_id_is_said(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    with pytest.raises(KvorumError, match=r"is no folder here|holds no PEFT adapter"):
        load(name)


def test_nothing_is_said(tmp_path: Path) -> None:
    with pytest.raises(KvorumError, match="no adapters are named"):
        kvorum.load_peft([])
    with pytest.raises(KvorumError, match=r"'user/nothere' are in no folder here, and could not be fetched"):
        load("user/nothere")


def test_an_id_on_the_hub_is_fetched_and_recorded_with_its_commit(
    adapter: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def fetch(name: str, **settings: Any) -> str:
        asked.update(settings, name=name)
        snapshot = tmp_path / "snapshots" / ("ab" * 20)
        for number in (10, 2, 0):
            shutil.copytree(adapter(f"m{number}", seed=number), snapshot / f"member-{number:02d}")
        (snapshot / "member-x").mkdir()
        return str(snapshot)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    posterior = load("user/name@main")
    assert asked["name"] == "user/name" and asked["revision"] == "main"
    assert all(pattern.endswith((".json", ".safetensors")) for pattern in asked["allow_patterns"])
    name = f"user/name@{'ab' * 20}"
    assert posterior.facts["imported"] == [f"{name}/member-00", f"{name}/member-02", f"{name}/member-10"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"{", "kvorum.json: is no JSON"),
        (b'{"format": "other"}', "kvorum.json: .*format"),
        (b"[" * 100_000, "kvorum.json: is no JSON"),
        (b'{"answer_format": "text", "normalisation": "sum", "chat": false, "prompt_template": "{{ x }}"}', "uses 'x'"),
        (b'{"answer_format": "text", "normalisation": "sum", "chat": 1, "prompt_template": "x"}', "chat is 1"),
        (
            b'{"answer_format": "text", "normalisation": "sum", "chat": false, "prompt_template": "{% set a = 1 %}"}',
            "set",
        ),
    ],
)
def test_what_an_ensemble_says_is_held_to_its_types(content: bytes, says: str, adapter: Maker, tmp_path: Path) -> None:
    shutil.copytree(adapter("m"), tmp_path / "all" / "member-00")
    (tmp_path / "all" / "kvorum.json").write_bytes(content)
    with pytest.raises(KvorumError, match=says):
        load(tmp_path / "all")


def test_ensembles_with_different_prompts_need_to_be_told(adapter: Maker, tmp_path: Path) -> None:
    said = {"answer_format": "text", "normalisation": "sum", "chat": False, "prompt_template": "{{ question }}"}
    for number in range(2):
        folder = tmp_path / f"all{number}"
        shutil.copytree(adapter("m"), folder / "member-00")
        (folder / "kvorum.json").write_text(json.dumps(said | {"chat": bool(number)}))
    both = (tmp_path / "all0", tmp_path / "all1")
    with pytest.raises(KvorumError, match="different prompts"):
        load(*both)
    assert load(both[1]).prompt.chat and not load(both[1], chat=False).prompt.chat
    file = tmp_path / "p.jinja"
    file.write_text("{{ question }}!")
    given = load(*both, answer_format="text", prompt=file, chat=False, normalisation="sum")
    assert given.prompt.template == "{{ question }}!" and len(given.stack.members) == 2


SAID = {"answer_format": "text", "normalisation": "sum", "chat": False, "prompt_template": "{{ question }}"}


def exported(folder: Path, adapter: Path, **said: Any) -> Path:
    """An ensemble of one, as kvorum exports it."""
    shutil.copytree(adapter, folder / "member-00")
    (folder / "kvorum.json").write_text(json.dumps(SAID | said))
    return folder


def test_ensembles_of_different_bases_are_refused_unless_the_base_is_given(
    adapter: Maker, tiny_model: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    unnamed = adapter("m", base=None)
    one = exported(tmp_path / "one", unnamed, base_revision="aa" * 20)
    same = exported(tmp_path / "same", unnamed, base_revision="aa" * 20, model=tiny_model)
    two = exported(tmp_path / "two", unnamed, base_revision="bb" * 20)
    named = exported(tmp_path / "named", unnamed, model="org/large")
    with pytest.raises(KvorumError, match=r"two/member-00 \(by kvorum.json\): is of revision bbbb.*one/member-00"):
        kvorum.load_peft([one, same, two])
    with pytest.raises(KvorumError, match=r"named/member-00 \(by kvorum.json\): is of the base model 'org/large'"):
        kvorum.load_peft([same, named])
    assert kvorum.load_peft([one, same]).base.name == tiny_model, "one that names none is of that which the others name"
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        load(one, same, two, named)
    told = [record.getMessage() for record in caplog.records if "not the very one" in record.getMessage()]
    assert len(told) == 4 and all(name in " ".join(told) for name in ("one/", "same/", "two/", "named/"))


def test_an_ensemble_and_an_adapter_that_name_different_bases_are_refused(
    adapter: Maker, tiny_model: str, tmp_path: Path
) -> None:
    folder = exported(tmp_path / "all", adapter("m", base="org/large"), model=tiny_model)
    with pytest.raises(KvorumError, match=r"member-00: is of the base model 'org/large', .*by kvorum.json"):
        kvorum.load_peft(folder)
    assert kvorum.load_peft(folder, base=tiny_model).base.name == tiny_model


def test_a_scaling_that_carries_weights_beyond_float32_is_refused(adapter: Maker) -> None:
    large = rewrite(
        adapter("large", lora_alpha=1000),
        lambda t: t.update({name: torch.full_like(value, 1e37) for name, value in t.items() if "lora_B" in name}),
    )
    with pytest.raises(KvorumError, match=r"large, adapter_model.safetensors: B of .* is beyond float32"):
        load(adapter("one"), large)


def test_a_bare_name_is_an_id_on_the_hub_where_its_commit_is_known() -> None:
    said = Ensemble.model_validate(SAID | {"model": "gpt2", "base_revision": "ab" * 20})
    assert said.base_on_hub == "gpt2" and said.base_commit == "ab" * 20 and said.for_others().model == "gpt2"
    folder = said.model_copy(update={"base_revision": "ab" * 32})
    assert folder.base_on_hub is None and folder.for_others().model is None


def test_nothing_of_it_needs_peft() -> None:
    code = "import sys\nsys.modules['peft'] = None\nimport kvorum\nkvorum.load_peft, kvorum.export_peft"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=8,
)
SETTINGS = [*AdapterConfig.model_fields, "peft_type", "bias", "init_lora_weights", "use_dora", "modules_to_save"]
MODULES = [name for name, _ in tiny.model().named_modules() if name]


@hypothesis_settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changed=st.dictionaries(st.sampled_from(SETTINGS) | st.text(max_size=12), VALUES, min_size=1, max_size=4))
def test_any_values_are_read_or_refused(changed: dict[str, Any], tmp_path: Path) -> None:
    whole = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "v_proj"]} | changed
    (tmp_path / "adapter_config.json").write_text(json.dumps(whole))
    try:
        config = read_adapter_config(tmp_path, "any")
        found = ranks_and_alphas(config, selected(config, MODULES, [], "any"), "any")
    except KvorumError as error:
        assert str(error).startswith("any")
    else:
        assert all(config.scaling(*shape) == config.scaling(*shape) for shape in found.values()), "no scaling is NaN"
