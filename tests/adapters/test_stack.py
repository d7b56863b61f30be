import dataclasses
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from kvorum.adapters import AdapterStack, Attachment, find_targets, kaiming_uniform_stack
from kvorum.errors import KvorumError
from tests import tiny


def stack(members: tuple[int, ...] = (0, 1, 2)) -> AdapterStack:
    return kaiming_uniform_stack(
        find_targets(tiny.model(), ["q_proj", "up_proj"]), members=members, rank=2, alpha=8.0, seed=1
    )


def test_a_file_holds_everything(tmp_path: Path) -> None:
    made = AdapterStack(**{**vars(stack()), "diverged": {1: "epoch 2, step 3"}})
    made.save(tmp_path / "stack", note="kept")
    read = AdapterStack.load(tmp_path / "stack")
    assert read.members == (0, 1, 2) and read.alpha == 8.0 and read.rank == 2 and read.scaling == 4.0
    assert list(read.a) == list(made.a), "the order that an optimizer's state is in"
    assert read.diverged == {1: "epoch 2, step 3"} and read.active == (0, 2)
    for ours, theirs in zip(made.parameters(), read.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("content", [b"", b"no safetensors", b"\xff" * 64])
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad").write_bytes(content)
    with pytest.raises(KvorumError, match="bad: is no file of tensors that kvorum wrote"):
        AdapterStack.load(tmp_path / "bad")


def test_a_foreign_or_inconsistent_file_is_refused(tmp_path: Path) -> None:
    save_file({"x": torch.zeros(2)}, tmp_path / "foreign")
    with pytest.raises(KvorumError, match="foreign: is no file of tensors that kvorum wrote"):
        AdapterStack.load(tmp_path / "foreign")
    header = {"format": "kvorum adapter stack 1", "alpha": 1, "members": [0], "diverged": {}, "targets": ["t"]}
    tensors = {"t.lora_A": torch.zeros(1, 2, 3), "t.lora_B": torch.zeros(1, 4, 3)}
    save_file(tensors, tmp_path / "torn", metadata={"kvorum": json.dumps(header)})
    with pytest.raises(KvorumError, match="torn"):
        AdapterStack.load(tmp_path / "torn")
    header["targets"] = ["u"]
    save_file(tensors, tmp_path / "misnamed", metadata={"kvorum": json.dumps(header)})
    with pytest.raises(KvorumError, match="not those that its header names"):
        AdapterStack.load(tmp_path / "misnamed")
    with pytest.raises(KvorumError, match="no such file"):
        AdapterStack.load(tmp_path / "missing")


def test_the_start_is_peft_s_and_depends_on_member_and_seed_alone() -> None:
    large = kaiming_uniform_stack(find_targets(tiny.model(), ["up_proj"]), members=[0], rank=48, alpha=1.0, seed=0)
    for a in large.a.values():
        # U(-1/sqrt(32), 1/sqrt(32)) has standard deviation 1/sqrt(3 * 32); 1,536 draws, 4 standard errors.
        assert a.abs().max() <= 32**-0.5
        assert a.std().item() == pytest.approx((3 * 32) ** -0.5, rel=0.05)
    assert all(not b.any() for b in large.b.values()) and large.untouched
    for target, a in stack((0, 1, 2)).a.items():
        assert torch.equal(a[2], stack((2,)).a[target][0])
        assert not torch.equal(a[0], a[1])
    first, second = list(stack().a.values())[:2]
    assert not torch.equal(first[0, :, :8], second[0, :, :8])


def test_members_that_share_a_start_all_have_that_of_member_0() -> None:
    targets = find_targets(tiny.model(), ["q_proj", "up_proj"])
    shared = kaiming_uniform_stack(targets, members=(2, 1), rank=2, alpha=8.0, seed=1, shared=True)
    assert shared.members == (2, 1) and shared.untouched
    for target, a in shared.a.items():
        own = stack((0, 1, 2)).a[target]
        assert torch.equal(a[0], own[0]) and torch.equal(a[1], own[0])
        assert not torch.equal(a[0], own[2])
    first, second = list(shared.a.values())[:2]
    assert not torch.equal(first[0, :, :8], second[0, :, :8]), "each target has numbers of its own"


def test_select_copies() -> None:
    made = stack()
    chosen = made.select([2, 0])
    assert chosen.members == (2, 0)
    next(chosen.parameters()).zero_()
    assert next(made.parameters())[0].any()
    assert made.parameters_per_member() == sum(p[0].numel() for p in made.parameters())


def test_adapters_of_another_base_model_are_refused_by_the_first_that_does_not_fit() -> None:
    made, model = stack(), tiny.model()
    name = next(iter(made.a))
    wide = dataclasses.replace(made, a={**made.a, name: torch.zeros(3, 2, 33)})
    with pytest.raises(KvorumError, match=rf"the adapters of {name} map 33 numbers to 32, .* another base model"):
        Attachment(model, wide).__enter__()
    with pytest.raises(KvorumError, match=r"layers.0 is a LlamaDecoderLayer"):
        layer = "model.layers.0"
        Attachment(model, dataclasses.replace(made, a={layer: made.a[name]}, b={layer: made.b[name]})).__enter__()
    assert not any("lora" in module.__class__.__name__.lower() for module in model.modules()), "it is left as it was"
