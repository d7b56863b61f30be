"""Members as PEFT adapters: the same logits in PEFT, the same probabilities when they come back."""

import dataclasses
import json
import logging
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

import kvorum
from kvorum.adapters import AdapterStack, find_targets, kaiming_uniform_stack
from kvorum.engine import BaseModel, fingerprint
from kvorum.errors import KvorumError
from kvorum.interchange.card import loading
from kvorum.interchange.ensemble import Ensemble
from kvorum.interchange.imported import import_peft
from kvorum.interchange.peft_export import target_names
from kvorum.posterior.posterior import Posterior
from kvorum.tasks import Prompt, default_template
from tests import tiny
from tests.interchange.logits import PROMPT, by_kvorum, by_peft

TEMPLATE = "{{ question }} ->"


def posterior(name: str = "llama", *, targets: tuple[str, ...] = ("all-linear",), alpha: float = 5.0) -> Posterior:
    """Three members of random A and B on a tiny model."""
    model = tiny.model(name)
    stack = kaiming_uniform_stack(find_targets(model, targets), members=(0, 1, 2), rank=3, alpha=alpha, seed=1)
    generator = torch.Generator().manual_seed(7)
    for b in stack.b.values():
        b.normal_(std=0.2, generator=generator)
    base = BaseModel(f"org/{name}", model, tiny.tokenizer(), fingerprint(model))
    return Posterior(base=base, stack=stack, prompt=Prompt(answer_format="text", template=TEMPLATE, chat=False))


@pytest.mark.parametrize("name", ["llama", "gpt2", "qwen2", "phi3"])
def test_a_member_has_the_same_logits_in_peft(name: str, tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    made = posterior(name)
    written = kvorum.export_peft(made, tmp_path / "out")
    assert written.members == ("member-00", "member-01", "member-02")
    untouched = tiny.model(name)(torch.tensor([PROMPT])).logits[0]
    for position, member in enumerate(written.members):
        ours = by_kvorum(made.base.model, made.stack, position)
        theirs = by_peft(tiny.model(name), tmp_path / "out" / member)
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
        assert (ours - untouched).abs().max() > 0.1, "the adapter does nothing, so that equality says nothing"
    # PEFT warns of what it mends by itself, and of keys that it misses.
    said = [
        str(one.message) for one in recwarn if "fan_in_fan_out" in str(one.message) or "missing" in str(one.message)
    ]
    assert not said


def test_what_vllm_reads_is_there(tmp_path: Path) -> None:
    made = posterior()
    kvorum.export_peft(made, tmp_path / "out")
    folder = tmp_path / "out" / "member-01"
    assert {file.name for file in folder.iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["r"] == 3 and config["lora_alpha"] == 5 and config["bias"] == "none" and not config["modules_to_save"]
    leaves = ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]
    assert config["target_modules"] == leaves and not config["fan_in_fan_out"]
    with safe_open(str(folder / "adapter_model.safetensors"), framework="pt") as file:
        names = {f"base_model.model.{target}.lora_{side}.weight" for target in made.stack.a for side in "AB"}
        assert set(file.keys()) == names
        for name in names:
            assert file.get_slice(name).get_dtype() == "F32"
        name = "model.layers.0.self_attn.q_proj"
        a = file.get_tensor(f"base_model.model.{name}.lora_A.weight")
        assert torch.equal(a, made.stack.a[name][1]), "it is the member's own"


def test_targets_in_some_layers_are_selected_exactly(tmp_path: Path) -> None:
    made = posterior(targets=("layers.0.self_attn.q_proj", "layers.2.self_attn.q_proj", "v_proj"))
    kvorum.export_peft(made, tmp_path / "out")
    config = json.loads((tmp_path / "out" / "member-00" / "adapter_config.json").read_text())
    assert config["target_modules"] == list(made.stack.a)
    ours, theirs = by_kvorum(made.base.model, made.stack, 0), by_peft(tiny.model(), tmp_path / "out" / "member-00")
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_ends_of_names_are_used_only_where_they_are_exact() -> None:
    modules = ["", "h.0.attn.c_proj", "h.0.mlp.c_proj", "h.0.mlp.c_fc", "h.1.mlp.c_fc"]
    assert target_names(["h.0.mlp.c_fc", "h.1.mlp.c_fc"], modules) == ["c_fc"]
    assert target_names(["h.0.mlp.c_proj"], modules) == ["h.0.mlp.c_proj"]
    assert target_names(["h.0.mlp.c_fc", "h.1.mlp.c_fc"], None) == ["h.0.mlp.c_fc", "h.1.mlp.c_fc"]


def test_an_export_comes_back_with_the_same_probabilities(tmp_path: Path) -> None:
    made = posterior()
    kvorum.export_peft(made, tmp_path / "out")
    back = kvorum.load_peft(tmp_path / "out", base=(tiny.model(), tiny.tokenizer()))
    assert back.prompt == made.prompt and back.stack.alpha == made.stack.alpha
    # The tiny tokenizer has more tokens than the tiny model, so questions are of tokens that the model has.
    for position in range(3):
        assert torch.equal(
            by_kvorum(back.base.model, back.stack, position), by_kvorum(made.base.model, made.stack, position)
        )


def test_a_run_is_exported_without_its_base_s_weights_and_comes_back(
    tiny_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    fitted = kvorum.fit(tiny_model, "facts_sums", members=2, rank=2, epochs=1, train_limit=8, evaluate_limit=4,
                        out=str(run), lr=1e-2, answer_format="letter")  # fmt: skip
    with monkeypatch.context() as none:
        none.setattr("kvorum.engine.base_model._load_pretrained", lambda *_: pytest.fail("weights were loaded"))
        kvorum.export_peft(run, tmp_path / "out")
        kvorum.export_peft(run, tmp_path / "start", epoch=0)
    config = json.loads((tmp_path / "out" / "member-00" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == tiny_model and config["revision"] is None
    assert "q_proj" in config["target_modules"], "the names of the modules were known"
    back = kvorum.load_peft(str(tmp_path / "out"))
    questions = kvorum.load_task("facts_sums").test[:5]
    assert back.prompt.template == default_template("letter")
    np.testing.assert_array_equal(back.predict(questions).probs, fitted.predict(questions).probs)
    untouched = kvorum.load_peft(tmp_path / "start")
    assert untouched.stack.untouched and not back.stack.untouched


def test_an_export_comes_back_on_its_base_held_as_it_was(
    tiny_model: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("bitsandbytes")
    run, out = tmp_path / "run", tmp_path / "out"
    fitted = kvorum.fit(tiny_model, "facts_sums", members=2, rank=2, epochs=1, train_limit=8, evaluate_limit=4,
                        out=str(run), lr=1e-2, quantize="8bit")  # fmt: skip
    kvorum.export_peft(run, out)
    assert "with quantize 8bit" in (out / "README.md").read_text()
    questions = kvorum.load_task("facts_sums").test[:5]
    for back in (kvorum.load_peft(out), kvorum.load_peft(out, base=tiny_model)):
        assert back.base.quantize == "8bit"
        np.testing.assert_array_equal(back.predict(questions).probs, fitted.predict(questions).probs)
    kvorum.export_peft(fitted, tmp_path / "again")
    assert json.loads((tmp_path / "again" / "kvorum.json").read_text())["quantize"] == "8bit"
    imported = import_peft(str(out), task="facts_sums", out=tmp_path / "imported")
    assert imported.config.quantize == "8bit" and kvorum.load(imported).base.quantize == "8bit"
    assert "so answers may differ" not in caplog.text
    assert kvorum.load_peft(out, quantize="off").base.quantize == "off"
    assert "with quantize 8bit, and is put on it with quantize off, so answers may differ" in caplog.text
    with pytest.raises(KvorumError, match=r"quantize is 4bit, and the model that was handed over is held otherwise"):
        kvorum.load_peft(out, base=fitted.base, quantize="4bit")


def test_targets_are_named_in_full_where_the_base_is_gone(
    tiny_model: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    base = tiny.save(tmp_path / "base")
    kvorum.fit(str(base), "facts_sums", members=1, epochs=0, evaluate_limit=2, out=str(tmp_path / "run"))
    base.rename(tmp_path / "elsewhere")
    with caplog.at_level(logging.WARNING):
        kvorum.export_peft(tmp_path / "run", tmp_path / "out")
    assert "named in full" in caplog.text
    config = json.loads((tmp_path / "out" / "member-00" / "adapter_config.json").read_text())
    assert "model.layers.0.self_attn.q_proj" in config["target_modules"]
    assert kvorum.load_peft(tmp_path / "out", base=tiny_model).stack.untouched


def test_members_that_diverged_are_left_out(tmp_path: Path) -> None:
    made = posterior()
    lost = dataclasses.replace(made, stack=dataclasses.replace(made.stack, diverged={1: "epoch 2, step 3"}))
    written = kvorum.export_peft(lost, tmp_path / "out")
    assert written.members == ("member-00", "member-02") and written.left_out == {1: "epoch 2, step 3"}
    assert not (tmp_path / "out" / "member-01").exists()
    assert "Member 1 diverged by epoch 2, step 3" in (tmp_path / "out" / "README.md").read_text()
    back = kvorum.load_peft(tmp_path / "out", base=(tiny.model(), tiny.tokenizer()))
    ours = by_kvorum(made.base.model, made.stack, 2)
    assert torch.equal(by_kvorum(back.base.model, back.stack, 1), ours)
    none = dataclasses.replace(
        made, stack=dataclasses.replace(made.stack, diverged=dict.fromkeys((0, 1, 2), "epoch 1"))
    )
    with pytest.raises(KvorumError, match="every member diverged"):
        kvorum.export_peft(none, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_nothing_is_written_over_and_nothing_is_left_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = posterior()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "note.txt").write_text("keep")
    with pytest.raises(KvorumError, match="mine is not empty; choose another"):
        kvorum.export_peft(made, tmp_path / "mine")
    (tmp_path / "empty").mkdir()
    kvorum.export_peft(made, tmp_path / "empty")
    assert (tmp_path / "empty" / "member-00" / "adapter_config.json").is_file()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "tensors")

    monkeypatch.setattr("kvorum.interchange.peft_export.write_safetensors", full)
    with pytest.raises(OSError, match="No space left"):
        kvorum.export_peft(made, tmp_path / "half")
    assert {child.name for child in tmp_path.iterdir()} == {"mine", "empty"}


def test_the_current_directory_is_refused_and_others_are_named_as_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = posterior()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(KvorumError, match="is the current directory, which cannot be replaced"):
        kvorum.export_peft(made, ".")
    kvorum.export_peft(made, "../there/../beside")
    assert (tmp_path / "beside" / "member-00").is_dir() and not list((tmp_path / "here").iterdir())
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file") as error:
        kvorum.export_peft(made, tmp_path / "file" / "out")
    assert error.value.filename == str(tmp_path / "file" / "out")


def test_code_in_the_readme_is_quoted_as_its_language_quotes(tmp_path: Path) -> None:
    made = posterior()
    named = dataclasses.replace(made, base=dataclasses.replace(made.base, name='/data/a [b] & it\'s "c"'))
    kvorum.export_peft(named, tmp_path / "out")
    readme = (tmp_path / "out" / "README.md").read_text()
    assert f"from_pretrained({json.dumps(named.base.name)})" in readme
    assert f"vllm serve {shlex.quote(named.base.name)} --enable-lora" in readme and "base=" not in readme
    about = Ensemble.read(tmp_path / "out", "out")
    assert about is not None
    unnamed = "\n".join(loading(about.for_others(), ["member-00"], "user/name", 2))
    assert 'kvorum.load_peft("user/name", base="BASE_MODEL")' in unnamed and "vllm serve BASE_MODEL" in unnamed


def test_the_packaged_model_is_named_as_others_find_it(tmp_path: Path) -> None:
    made = posterior()
    named = dataclasses.replace(made, base=dataclasses.replace(made.base, name="smollm2-135m"))
    kvorum.export_peft(named, tmp_path / "out")
    config = json.loads((tmp_path / "out" / "member-00" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "HuggingFaceTB/SmolLM2-135M-Instruct" and config["revision"] is None
    readme = (tmp_path / "out" / "README.md").read_text()
    assert "not quantised" in readme and "--enable-lora" in readme and "member-02=DIR/member-02" in readme
    commit = "0123456789" * 4
    pinned = dataclasses.replace(made, base=dataclasses.replace(made.base, revision=commit))
    kvorum.export_peft(pinned, tmp_path / "pinned")
    assert json.loads((tmp_path / "pinned" / "member-00" / "adapter_config.json").read_text())["revision"] == commit


def test_an_alpha_that_is_no_whole_number_is_kept(tmp_path: Path) -> None:
    made = posterior(alpha=2.5)
    kvorum.export_peft(made, tmp_path / "out")
    ours, theirs = by_kvorum(made.base.model, made.stack, 0), by_peft(tiny.model(), tmp_path / "out" / "member-00")
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    back: AdapterStack = kvorum.load_peft(tmp_path / "out", base=(tiny.model(), tiny.tokenizer())).stack
    assert back.scaling == pytest.approx(2.5 / 3)
