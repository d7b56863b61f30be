"""A base model whose parts lie on several devices, or off them."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import kvorum
from kvorum.adapters import device_of, find_targets, first_device, kaiming_uniform_stack
from kvorum.engine import BaseModel, Item, attached, build_pack, checkpointed, load_base, score_pack
from kvorum.engine.spread import is_spread, leave_in_place
from tests import tiny

pytest.importorskip("accelerate")

ROOT = Path(__file__).parent.parent.parent
FIT: dict[str, Any] = {"members": 2, "rank": 2, "epochs": 1, "batch_size": 4, "lr": 1e-2}


@pytest.mark.parametrize(("name", "first", "second"), [("llama", "believed:0", "cpu"), ("gpt2", "cpu", "believed:0")])
def test_every_operator_of_a_step_has_its_tensors_on_one_device(name: str, first: str, second: str) -> None:
    if importlib.util.find_spec("torch.utils.backend_registration") is None or not hasattr(
        importlib.import_module("torch.utils.backend_registration"), "_setup_privateuseone_for_python_backend"
    ):
        pytest.skip("this PyTorch has no devices in Python, and there is no second one")
    program = [sys.executable, str(Path(__file__).parent / "two_devices.py"), name, first, second]
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    done = subprocess.run(program, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": paths})
    assert done.returncode == 0, done.stderr[-3000:]
    lines = done.stdout.splitlines()
    assert lines[0] == lines[-1].replace("moments", "adapters") == "adapters ['believed:0', 'cpu']"
    assert [line.split()[1:3] for line in lines[1:-1]] == [
        [t, f] for t in ("False", "True") for f in ("text", "letter")
    ]


def off_the_device(folder: str, offload: Path) -> BaseModel:
    """A layer lies on disk, and is brought in for each pass."""
    parts = ("model.embed_tokens", "model.norm", "model.rotary_emb", "lm_head", "model.layers.0", "model.layers.2")
    places = {**dict.fromkeys(parts, "cpu"), "model.layers.1": "disk"}
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(
        folder, device_map=places, offload_folder=offload, dtype=torch.float32
    )
    model.requires_grad_(False)
    leave_in_place(model)
    return BaseModel("spread", model.eval(), tiny.tokenizer(), "")


def test_a_fit_with_a_layer_off_the_device_is_the_same_fit(tiny_model: str, question_file: str, tmp_path: Path) -> None:
    away = off_the_device(tiny_model, tmp_path / "off")
    part = away.model.get_submodule("model.layers.1.mlp.up_proj")
    assert next(part.parameters()).device.type == "meta" and device_of(part).type == "cpu"
    assert is_spread(away.model) and first_device(away.model).type == "cpu"
    whole = load_base(tiny_model)
    found = [kvorum.fit(base, question_file, **FIT, gradient_checkpointing=True) for base in (whole, away)]
    for one, two in zip(*(posterior.stack.parameters() for posterior in found), strict=True):
        torch.testing.assert_close(one, two, atol=1e-6, rtol=1e-5)
    probs = [posterior.predict(question_file).probs for posterior in found]
    np.testing.assert_allclose(*probs, atol=1e-6)
    assert next(part.parameters()).device.type == "meta", "it has gone out again"


def test_what_is_brought_in_for_the_gradients_goes_out_again(tiny_model: str, tmp_path: Path) -> None:
    model = off_the_device(tiny_model, tmp_path / "off").model
    layer = model.get_submodule("model.layers.1")
    # What no gradient goes back to is not computed to its end, unless that is asked for.
    targets = find_targets(model, ["q_proj", "v_proj"])
    stack = kaiming_uniform_stack(targets, members=[0], rank=2, alpha=4.0, seed=0)
    for parameter in stack.parameters():
        parameter.requires_grad_(True)
    pack = build_pack([Item(0, question) for question in tiny.questions(3, "text")])
    with attached(model, stack) as attachment, checkpointed(attachment, wanted=True):
        score_pack(attachment, pack, answer_format="text").log_probs[:, 0].sum().backward()
        held = {name for name, p in layer.named_parameters() if p.device.type != "meta" and "weight" in name}
    assert not held
    assert all(parameter.grad is not None for parameter in stack.parameters())


def test_it_is_not_fitted_with_all_that_is_brought_in_kept(tiny_model: str, question_file: str, tmp_path: Path) -> None:
    away = off_the_device(tiny_model, tmp_path / "off")
    with pytest.raises(kvorum.KvorumError, match=r"not all of spread fits on the devices.* say --gradient-check"):
        kvorum.fit(away, question_file, **FIT)


def test_device_map_auto_is_as_any_fit_where_there_is_one_device(
    tiny_model: str, question_file: str, tmp_path: Path
) -> None:
    out = str(tmp_path / "run")
    kvorum.fit(tiny_model, question_file, **FIT, out=out, device_map="auto")
    # It may be another machine's that goes on.
    kvorum.fit(tiny_model, question_file, **FIT | {"epochs": 2}, out=out)
    assert kvorum.Run.open(out).epochs[-1] == 2
