"""A joint fit against members fitted alone, and against PEFT with the same start and order."""

import dataclasses

import numpy as np
import peft
import pytest
import torch

from kvorum.adapters import AdapterStack, Attachment, find_targets, kaiming_uniform_stack
from kvorum.engine import Item, attached
from kvorum.posterior.optimizer import MemberAdamW
from kvorum.posterior.priors import product
from kvorum.posterior.step import take_step
from tests import tiny

# Steps small enough that rounding is not blown up by the random models' own dynamics: at 3e-3 mistral makes 3e-5 of it.
STEPS, BATCH, LR, CLIP, L2, RANK, ALPHA = 4, 3, 1e-3, 0.3, 0.1, 2, 4.0


def batches(member: int, step: int) -> list[int]:
    return list(np.random.default_rng((member, step)).choice(12, BATCH, replace=False))


def fit_jointly(name: str, members: list[int], answer_format: str, budget: int = 10_000) -> AdapterStack:
    model, questions = tiny.model(name), tiny.questions(12, answer_format)
    stack = kaiming_uniform_stack(find_targets(model, ["all-linear"]), members=members, rank=RANK, alpha=ALPHA, seed=0)
    for parameter in stack.parameters():
        parameter.requires_grad_(True)
    optimizer = MemberAdamW(stack, clip=CLIP)
    with attached(model, stack) as attachment:
        for step in range(STEPS):
            chosen = [[Item(i, questions[q]) for q in batches(m, step)] for i, m in enumerate(members)]
            step_of_all(attachment, optimizer, chosen, answer_format, budget)
    return stack


def step_of_all(
    attachment: Attachment,
    optimizer: MemberAdamW,
    chosen: list[list[Item]],
    answer_format: str,
    budget: int = 10_000,
) -> None:
    take_step(
        attachment,
        optimizer,
        chosen,
        prior=product,
        l2=L2,
        lr=LR,
        answer_format=answer_format,
        normalisation="sum",
        token_budget=budget,
    )


def fit_with_peft(name: str, member: int, start: AdapterStack, answer_format: str) -> dict[str, torch.Tensor]:
    """The same steps with PEFT's layers, torch's AdamW and clipping, and a forward pass a candidate."""
    base, questions = tiny.model(name), tiny.questions(12, answer_format)
    targets = sorted({target.rpartition(".")[2] for target in start.a})
    settings = peft.LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=targets, lora_dropout=0.0, bias="none")
    model = peft.get_peft_model(base, settings).eval()
    modules = {n.removeprefix("base_model.model."): m for n, m in model.named_modules() if hasattr(m, "lora_A")}
    assert modules.keys() == start.a.keys()
    with torch.no_grad():
        for target, module in modules.items():
            module.lora_A["default"].weight.copy_(start.a[target][0])
            module.lora_B["default"].weight.copy_(start.b[target][0])
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=LR, weight_decay=0.0)
    for step in range(STEPS):
        losses = []
        for number in batches(member, step):
            question = questions[number]
            scores = []
            for candidate in question.candidates:
                logits = model(torch.tensor([[*question.prompt, *candidate]])).logits[0].log_softmax(-1)
                at = torch.arange(len(candidate))
                scores.append(logits[len(question.prompt) - 1 + at, torch.tensor(candidate)].sum())
            scores = torch.stack(scores)
            losses.append(-(scores if answer_format == "letter" else scores.log_softmax(0))[question.answer])
        penalty = sum(
            (m.lora_B["default"].weight @ m.lora_A["default"].weight).square().sum() for m in modules.values()
        )
        optimizer.zero_grad()
        (torch.stack(losses).mean() + L2 * penalty).backward()
        torch.nn.utils.clip_grad_norm_(trained, CLIP)
        optimizer.step()
    return {
        f"{target}.{side}": getattr(module, f"lora_{side}")["default"].weight.detach()
        for target, module in modules.items()
        for side in "AB"
    }


@pytest.mark.parametrize("answer_format", ["letter", "text"])
@pytest.mark.parametrize("name", tiny.ARCHITECTURES)
def test_a_member_of_a_joint_fit_equals_itself_fitted_with_peft(name: str, answer_format: str) -> None:
    joint = fit_jointly(name, [0, 1, 2], answer_format)
    start = kaiming_uniform_stack(
        find_targets(tiny.model(name), ["all-linear"]), members=[1], rank=RANK, alpha=ALPHA, seed=0
    )
    alone = fit_with_peft(name, 1, start, answer_format)
    moved = 0.0
    for target in joint.a:
        torch.testing.assert_close(joint.a[target][1], alone[f"{target}.A"], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(joint.b[target][1], alone[f"{target}.B"], atol=1e-5, rtol=1e-5)
        moved = max(moved, joint.b[target][1].abs().max().item())
    assert moved > LR, "nothing was learned, so that equality says nothing"


@pytest.mark.parametrize("name", tiny.ARCHITECTURES)
def test_a_member_of_a_joint_fit_equals_itself_fitted_alone(name: str) -> None:
    joint, alone = fit_jointly(name, [0, 1, 2], "text"), fit_jointly(name, [2], "text")
    for target in joint.a:
        torch.testing.assert_close(joint.a[target][2], alone.a[target][0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(joint.b[target][2], alone.b[target][0], atol=1e-5, rtol=1e-5)


def test_members_in_another_order_and_small_passes_change_nothing() -> None:
    joint, turned = fit_jointly("llama", [0, 1, 2], "text"), fit_jointly("llama", [2, 0, 1], "text", budget=30)
    for target in joint.a:
        torch.testing.assert_close(joint.a[target], turned.a[target][[1, 2, 0]], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(joint.b[target], turned.b[target][[1, 2, 0]], atol=1e-5, rtol=1e-5)


def test_the_model_comes_back_as_it_was() -> None:
    model = tiny.model("gpt2").train()
    model.transformer.wte.weight.requires_grad_(False)
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    modules = dict(model.named_modules())
    wanted = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    attention = model.config._attn_implementation
    stack = kaiming_uniform_stack(find_targets(model, ["all-linear"]), members=[0], rank=2, alpha=4.0, seed=0)
    with pytest.raises(RuntimeError, match="on purpose"), attached(model, stack):
        assert dict(model.named_modules()).keys() != modules.keys()
        raise RuntimeError("on purpose")
    after = dict(model.named_modules())
    assert after.keys() == modules.keys() and all(after[name] is modules[name] for name in modules)
    assert {name: parameter.requires_grad for name, parameter in model.named_parameters()} == wanted
    assert all(torch.equal(parameter, before[name]) for name, parameter in model.named_parameters())
    assert model.training and all(module.training for module in model.modules())
    assert model.config._attn_implementation == attention


def test_a_member_that_turns_to_nan_harms_nobody() -> None:
    model, questions = tiny.model(), tiny.questions(12, "text")
    stack = kaiming_uniform_stack(find_targets(model, ["all-linear"]), members=[0, 1], rank=RANK, alpha=ALPHA, seed=0)
    # An A so large that the member's logits overflow, which makes its loss and gradients NaN.
    stack.b[next(iter(stack.b))][0].fill_(1e38)
    stack = dataclasses.replace(stack)
    for parameter in stack.parameters():
        parameter.requires_grad_(True)
    before = [parameter[0].detach().clone() for parameter in stack.parameters()]
    optimizer = MemberAdamW(stack, clip=CLIP)
    with attached(model, stack) as attachment:
        for step in range(STEPS):
            chosen = [[Item(m, questions[q]) for q in batches(m, step)] for m in (0, 1)]
            step_of_all(attachment, optimizer, chosen, "text")
    assert optimizer.active.tolist() == [False, True]
    for parameter, start in zip(stack.parameters(), before, strict=True):
        assert torch.equal(parameter[0], start)
    alone = fit_jointly("llama", [1], "text")
    for target in alone.a:
        torch.testing.assert_close(stack.a[target][1], alone.a[target][0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(stack.b[target][1], alone.b[target][0], atol=1e-5, rtol=1e-5)
