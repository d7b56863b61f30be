"""Hidden states from a pack, held against transformers on one question at a time."""

import numpy as np
import pytest
import torch

from kvorum.adapters import AdapterStack, find_targets, kaiming_uniform_stack
from kvorum.engine import BaseModel, Item, attached, build_pack, score_pack
from kvorum.posterior.hidden import HiddenMeans
from kvorum.posterior.scoring import scoring
from tests import tiny


def random_stack(model: torch.nn.Module, members: int) -> AdapterStack:
    stack = kaiming_uniform_stack(
        find_targets(model, ["all-linear"]), members=range(members), rank=2, alpha=4.0, seed=0
    )
    draw = torch.Generator().manual_seed(1)
    for b in stack.b.values():
        b.copy_(0.1 * torch.randn(b.shape, generator=draw))
    return stack


def merged(name: str, stack: AdapterStack, member: int) -> torch.nn.Module:
    """The model with one member's B A added to its weights."""
    model = tiny.model(name)
    modules = dict(model.named_modules())
    for target in stack.a:
        weight = modules[target].weight
        change = stack.scaling * stack.b[target][member] @ stack.a[target][member]
        with torch.no_grad():
            weight += change if isinstance(modules[target], torch.nn.Linear) else change.T
    return model.eval()


def by_transformers(model: torch.nn.Module, question: tiny.Encoded) -> torch.Tensor:
    with torch.no_grad():
        out = model(input_ids=torch.tensor([question.prompt]), output_hidden_states=True)
    return out.hidden_states[-1][0, -1]


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2"])
@pytest.mark.parametrize("answer_format", ["letter", "text"])
def test_the_last_hidden_state_at_the_end_of_each_prompt_is_that_of_transformers(name: str, answer_format: str) -> None:
    model, asked = tiny.model(name), tiny.questions(5, answer_format)
    stack = random_stack(model, 2)
    items = [Item(member, question) for member in range(2) for question in asked]
    with torch.no_grad(), attached(model, stack) as attachment:
        found = score_pack(attachment, build_pack(items), answer_format=answer_format, hidden=True).hidden
        without = score_pack(attachment, build_pack(items), answer_format=answer_format)
    assert found is not None and without.hidden is None
    for member in range(2):
        alone = merged(name, stack, member)
        for i, question in enumerate(asked):
            torch.testing.assert_close(
                found[member * len(asked) + i], by_transformers(alone, question), atol=1e-5, rtol=1e-5
            )


def test_means_are_over_the_members_of_each_group_whatever_the_passes() -> None:
    model, asked = tiny.model(), tiny.questions(7, "text")
    stack = random_stack(model, 3)
    base = BaseModel("tiny", model, tiny.tokenizer(), "")
    expected = np.stack([[by_transformers(merged("llama", stack, m), q).numpy() for q in asked] for m in range(3)])
    for budget in (20, 60, 4000):  # members apart, some questions a pass, all at once
        means = HiddenMeans([[0, 2], [1]], of=len(asked))
        with scoring(
            base,
            stack,
            answer_format="text",
            normalisation="sum",
            token_budget=budget,
            trial=asked,
            compile=False,
        ) as scorer:
            scorer(asked, hidden=means)
        np.testing.assert_allclose(means.means[0], (expected[0] + expected[2]) / 2, atol=1e-5)
        np.testing.assert_allclose(means.means[1], expected[1], atol=1e-5)


def test_an_untouched_stack_has_the_base_models_states_in_every_group() -> None:
    model, asked = tiny.model(), tiny.questions(4, "letter")
    stack = kaiming_uniform_stack(find_targets(model, ["all-linear"]), members=range(4), rank=2, alpha=4.0, seed=0)
    base = BaseModel("tiny", model, tiny.tokenizer(), "")
    means = HiddenMeans([[0, 1], [2, 3]], of=3)
    with scoring(
        base, stack, answer_format="letter", normalisation="sum", token_budget=None, trial=asked, compile=False
    ) as scorer:
        scorer(asked, hidden=means)
    assert means.means.shape[:2] == (2, 3)
    for i, question in enumerate(asked[:3]):
        for group in means.means:
            np.testing.assert_allclose(group[i], by_transformers(model, question).numpy(), atol=1e-5)


def test_a_pass_that_is_done_again_counts_once() -> None:
    means = HiddenMeans([[0, 1]], of=3)
    states = np.arange(12.0).reshape(2, 3, 2)
    for _ in range(2):
        means.add(states[:1], 0, [0, 1, 2])
        means.add(states[1:], 1, [0, 1, 2])
    np.testing.assert_allclose(means.means[0], states.mean(0))


def test_states_that_are_not_finite_do_not_count() -> None:
    means = HiddenMeans([[0, 1, 2]], of=2)
    states = np.arange(12.0).reshape(3, 2, 2)
    states[1, 0, 1] = np.nan
    means.add(states, 0, [0, 1])
    np.testing.assert_allclose(means.means[0, 0], (states[0, 0] + states[2, 0]) / 2)
    np.testing.assert_allclose(means.means[0, 1], states[:, 1].mean(0))
