"""Packed scoring against the model's own forward pass, one padded-nothing sequence a candidate."""

import pytest
import torch

from kvorum.adapters import AdapterStack, find_targets, kaiming_uniform_stack
from kvorum.engine import Item, attached, build_pack, plan_packs, score_pack
from tests import tiny


def random_stack(model: torch.nn.Module, members: int, seed: int = 0) -> AdapterStack:
    stack = kaiming_uniform_stack(
        find_targets(model, ["all-linear"]), members=range(members), rank=2, alpha=4.0, seed=seed
    )
    generator = torch.Generator().manual_seed(seed)
    for b in stack.b.values():
        b.normal_(std=0.3, generator=generator)
    return stack


def merged(name: str, stack: AdapterStack, member: int) -> torch.nn.Module:
    """A copy of the model whose weights have the member's (alpha / rank) B A added: no code of ours runs in it."""
    model = tiny.model(name)
    model.set_attn_implementation("eager")
    for target in stack.a:
        module = model.get_submodule(target)
        delta = stack.alpha / stack.rank * stack.b[target][member] @ stack.a[target][member]
        with torch.no_grad():
            module.weight += delta.T if type(module).__name__ == "Conv1D" else delta
    return model.eval()


@torch.no_grad()
def token_log_probs(model: torch.nn.Module, prompt: tuple[int, ...], candidate: tuple[int, ...]) -> list[float]:
    logits = model(torch.tensor([[*prompt, *candidate]])).logits[0].double().log_softmax(-1)
    return [logits[len(prompt) - 1 + i, token].item() for i, token in enumerate(candidate)]


@pytest.mark.parametrize("answer_format", ["letter", "text"])
@pytest.mark.parametrize("name", tiny.ARCHITECTURES)
def test_a_pack_of_members_equals_merged_models_run_on_each_candidate_alone(name: str, answer_format: str) -> None:
    model, questions = tiny.model(name), tiny.questions(4, answer_format)
    stack = random_stack(model, members=3)
    pack = build_pack([Item(member, question) for member in range(3) for question in questions])
    with torch.no_grad(), attached(model, stack) as attachment:
        scores = score_pack(attachment, pack, answer_format=answer_format)
    for member in range(3):
        alone = merged(name, stack, member)
        for place, question in enumerate(questions):
            each = torch.tensor([sum(token_log_probs(alone, question.prompt, c)) for c in question.candidates])
            row = member * len(questions) + place
            expected = each if answer_format == "letter" else each.log_softmax(0)
            got = scores.log_probs[row, : len(each)]
            torch.testing.assert_close(got, expected.to(got.dtype), atol=1e-5, rtol=1e-5)
            assert (scores.log_probs[row, len(each) :] == -torch.inf).all()
            rest = 1 - each.exp().sum() if answer_format == "letter" else torch.tensor(0.0)
            assert scores.rest[row].item() == pytest.approx(rest.item(), abs=1e-6)


def test_a_mean_per_token_divides_by_each_candidate_s_own_length() -> None:
    model, questions = tiny.model(), tiny.questions(3, "text")
    stack = random_stack(model, members=1)
    alone = merged("llama", stack, 0)
    with torch.no_grad(), attached(model, stack) as attachment:
        pack = build_pack([Item(0, question) for question in questions])
        scores = score_pack(attachment, pack, answer_format="text", normalisation="mean")
    for row, question in enumerate(questions):
        each = [token_log_probs(alone, question.prompt, c) for c in question.candidates]
        expected = torch.tensor([sum(e) / len(e) for e in each]).log_softmax(0)
        torch.testing.assert_close(scores.log_probs[row, : len(each)], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("budget", [1, 40, 10_000])
def test_the_token_budget_changes_no_score(budget: int) -> None:
    model, questions = tiny.model(), tiny.questions(6, "text")
    stack = random_stack(model, members=2)
    items = [Item(member, question) for member in range(2) for question in questions]
    rows = []
    with torch.no_grad(), attached(model, stack) as attachment:
        for run in plan_packs(items, budget):
            part = score_pack(attachment, build_pack([items[i] for i in run]), answer_format="text").log_probs
            rows += [row[row > -torch.inf] for row in part]
        whole = score_pack(attachment, build_pack(items), answer_format="text").log_probs
    for got, expected in zip(rows, whole, strict=True):
        torch.testing.assert_close(got, expected[expected > -torch.inf], atol=1e-5, rtol=1e-5)
