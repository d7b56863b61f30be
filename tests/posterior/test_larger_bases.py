"""Fits on bases that are held in few bits: joint and alone, saved and loaded, and what they may not be mixed with."""

import dataclasses
import importlib
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import kvorum
from kvorum.adapters import AdapterStack
from kvorum.config import fit_config, read_yaml
from kvorum.engine import load_base
from kvorum.posterior.fitting import Fitting
from kvorum.posterior.job import Job, plan
from kvorum.posterior.progress import Silent
from kvorum.run.drift import MAY_CHANGE, identity
from tests import tiny

OLD = "db5eb14cab12902acadd4830dac270fe116a640d95b495eb4f85be3844701548"
"""What identified such a run before there was the setting."""
FIT: dict[str, Any] = {"members": 3, "rank": 2, "epochs": 1, "batch_size": 4, "lr": 1e-2}


def named(tmp_path: Path, tiny_model: str, quantize: str) -> str:
    """The model to fit on; skips where a package is missing."""
    package = "gguf" if quantize == "gguf" else "bitsandbytes"
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    if quantize != "gguf":
        return tiny_model
    from tests import tiny_gguf

    return tiny_gguf.save(tmp_path / "tiny.gguf")


@pytest.mark.parametrize("quantize", ["4bit", "8bit", "gguf"])
def test_a_run_is_fitted_saved_and_loaded_on_the_same_base(
    tiny_model: str, question_file: str, tmp_path: Path, quantize: str
) -> None:
    model, out = named(tmp_path, tiny_model, quantize), str(tmp_path / "run")
    fitted = kvorum.fit(model, question_file, **FIT, quantize=quantize, out=out)
    assert {parameter.dtype for parameter in fitted.stack.parameters()} == {torch.float32}
    assert all(float(b.abs().max()) > 0 for b in fitted.stack.b.values())
    loaded = kvorum.load(out)
    assert loaded.base.quantize == quantize and loaded.base.bytes == fitted.base.bytes
    np.testing.assert_array_equal(loaded.predict(question_file).probs, fitted.predict(question_file).probs)
    # It goes on where it stopped, and as another base it does not.
    kvorum.fit(model, question_file, **FIT | {"epochs": 2}, quantize=quantize, out=out, gradient_checkpointing=True)
    with pytest.raises(kvorum.KvorumError, match=f"its quantize is {quantize}, asked for was off"):
        kvorum.fit(model, question_file, **FIT, out=out)


@pytest.mark.parametrize("quantize", ["4bit", "8bit", "gguf"])
def test_a_member_alone_is_the_member_of_a_joint_fit(
    tiny_model: str, question_file: str, tmp_path: Path, quantize: str
) -> None:
    settings = {"model": named(tmp_path, tiny_model, quantize), "task": question_file, "quantize": quantize}
    job = plan(fit_config(settings | FIT), kept=False)
    joint = fitted(job)
    alone = fitted(dataclasses.replace(job, members=(2,)))
    for one, two in zip(joint.select([2]).parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(one, two, atol=2e-5, rtol=1e-3)
    start = dict(job.start().named_parameters())
    assert max(float((p.detach() - start[n]).abs().max()) for n, p in joint.named_parameters()) > 1e-3


def fitted(job: Job) -> AdapterStack:
    return Fitting(job, None, Silent()).run_all().stack


def test_a_model_that_is_handed_over_is_as_it_is(tiny_model: str, question_file: str) -> None:
    if importlib.util.find_spec("bitsandbytes") is None:
        pytest.skip("bitsandbytes is not installed")
    with pytest.raises(kvorum.KvorumError, match="quantize is 4bit, and the model that was handed over is held"):
        kvorum.fit((tiny.model(), tiny.tokenizer()), question_file, quantize="4bit")
    base = load_base(tiny_model, quantize="4bit")
    with pytest.raises(kvorum.KvorumError, match="say quantize='4bit'"):
        kvorum.fit(base, question_file)
    assert kvorum.fit(base, question_file, **FIT, quantize="4bit").base is base


def test_runs_that_are_older_than_the_setting_are_still_themselves() -> None:
    config = fit_config({"model": "m", "task": "t"})
    assert identity(config, {}) == OLD
    assert identity(dataclasses.replace(config, gradient_checkpointing=True, device_map="auto"), {}) == OLD
    others = {identity(dataclasses.replace(config, quantize=quantize), {}) for quantize in ("4bit", "8bit", "gguf")}
    assert len(others) == 3 and OLD not in others
    assert {"device_map", "gradient_checkpointing"} <= MAY_CHANGE


@pytest.mark.parametrize("name", ["compile", "device_map", "quantize"])
def test_off_may_stand_unquoted_in_yaml(tmp_path: Path, name: str) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(f"model: m\ntask: t\n{name}: off\n")
    assert getattr(fit_config(read_yaml(file)), name) == "off"
    with pytest.raises(kvorum.KvorumError, match=f"{name} is 'some'"):
        fit_config({"model": "m", "task": "t", name: "some"})


def test_layers_that_cannot_be_computed_twice_are_refused_before_anything_is_scored(
    tiny_model: str, question_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = importlib.import_module("kvorum.engine.checkpointed")
    monkeypatch.setattr(there, "decoder_layers", lambda _: [])
    with pytest.raises(kvorum.KvorumError, match="has no layers that transformers can compute twice"):
        kvorum.fit(tiny_model, question_file, **FIT, gradient_checkpointing=True, out=str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_devices_are_chosen_once() -> None:
    with pytest.raises(kvorum.KvorumError, match="device_map auto chooses the devices by itself, and device is 'cpu'"):
        fit_config({"model": "m", "task": "t", "device_map": "auto", "device": "cpu"})
