"""The benchmark against PEFT runs, and its sides minimise what kvorum minimises."""

import json
import statistics
from pathlib import Path

import fit_vs_peft
import pytest
import torch
from peft_sides import SIDES, PeftMember, Side, sequences
from tests import tiny

from kvorum.adapters import find_targets, kaiming_uniform_stack
from kvorum.engine import Item, attached
from kvorum.posterior.objective import accumulate_nll


def test_a_row_for_every_side_with_ratios_round_by_round(tiny_model: str, question_file: str, tmp_path: Path) -> None:
    asked = ["--model", tiny_model, "--task", question_file, "--members", "1", "2", "--peft-steps", "2"]
    asked += ["--batch", "3", "--repeats", "2", "--no-compile", "--json", str(tmp_path / "rows.json")]
    rows = fit_vs_peft.main(asked)
    assert [row["side"] for row in rows] == 2 * ["kvorum, M = 1", "kvorum, M = 2", *(side.name for side in SIDES)]
    for row in rows:
        others = {other["side"]: other["rates"] for other in rows if other["format"] == row["format"]}
        assert len(row["rates"]) == 2 and row["tokens/s"] == statistics.median(row["rates"]) > 0
        for side in SIDES:
            each = [a / b for a, b in zip(row["rates"], others[side.name], strict=True)]
            assert row[f"over {side.name}"] == pytest.approx(statistics.median(each))
    written = json.loads((tmp_path / "rows.json").read_text())
    assert written["rows"] == rows and written["machine"]["torch"] == torch.__version__


@pytest.mark.parametrize("answer_format", ["letter", "text"])
@pytest.mark.parametrize("side", SIDES, ids=lambda side: side.name)
def test_a_side_of_peft_minimises_what_kvorum_minimises(side: Side, answer_format: str) -> None:
    model, questions = tiny.model("qwen2"), tiny.questions(6, answer_format)
    stack = kaiming_uniform_stack(find_targets(model, ["q_proj"]), members=[0], rank=2, alpha=4.0, seed=0)
    for b in stack.b.values():
        b.normal_(std=0.3, generator=torch.Generator().manual_seed(0))
    for parameter in stack.parameters():
        parameter.requires_grad_(True)
    with attached(model, stack) as attachment:
        ours = accumulate_nll(
            attachment,
            [[Item(0, question) for question in questions]],
            answer_format=answer_format,
            normalisation="sum",
            token_budget=1000,
        )
    side = Side(**vars(side) | {"pad_to": 20 if side.pad_to else None})
    member = PeftMember(model, side, targets=["q_proj"], rank=2, alpha=4.0, l2=0.0, lr=0.0)
    adapted = {name.removeprefix("base_model.model."): m for name, m in member.model.named_modules()}
    with torch.no_grad():
        for target in stack.a:
            adapted[target].lora_A["default"].weight.copy_(stack.a[target][0])
            adapted[target].lora_B["default"].weight.copy_(stack.b[target][0])
    theirs = member.nll(
        sequences(questions, answer_format, side.pad_to), answer_format, torch.tensor([q.answer for q in questions])
    )
    torch.testing.assert_close(theirs.detach(), ours[0], atol=1e-5, rtol=1e-5)
    theirs.backward()
    for target in stack.a:
        for side_of, grads in (("lora_A", stack.a), ("lora_B", stack.b)):
            found = getattr(adapted[target], side_of)["default"].weight.grad
            torch.testing.assert_close(found, grads[target].grad[0], atol=1e-5, rtol=1e-4)
