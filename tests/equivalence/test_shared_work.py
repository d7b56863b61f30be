"""What saves work changes no result: openings laid down once, the last layer cut, passes of other sizes and orders."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor

from kvorum.adapters import Attachment
from kvorum.engine import Item, attached, attention, build_pack, plan_packs, score_pack
from kvorum.engine.last_layer import decoder_layers
from kvorum.posterior.optimizer import MemberAdamW
from kvorum.posterior.priors import product
from kvorum.posterior.step import take_step
from tests import tiny
from tests.equivalence.test_scoring import random_stack

OPENING = (7, 3, 11, 2, 5)
LR = 3e-3


def asked(answer_format: str, order: Sequence[int] = (0, 1, 2)) -> list[list[Item]]:
    """Three questions of each member that begin alike, and those of member 1 in another way than the others'."""
    openings = {0: OPENING, 1: OPENING[::-1], 2: OPENING}
    return [[Item(m, q) for q in tiny.questions(3, answer_format, seed=m, opening=openings[m])] for m in order]


def results(name: str, answer_format: str, *, budget: int = 10_000, order: Sequence[int] = (0, 1, 2)) -> dict:
    """What scoring says, question by question, and what a step finds and does."""
    model = tiny.model(name)
    stack = random_stack(model, members=3)
    batches = asked(answer_format, order)
    items = [item for batch in batches for item in batch]
    found: dict[str, Tensor] = {}
    with attached(model, stack) as attachment:
        with torch.no_grad():
            for run in plan_packs(items, budget):
                part = score_pack(attachment, build_pack([items[i] for i in run]), answer_format=answer_format)
                for i, log_probs, rest in zip(run, part.log_probs, part.rest, strict=True):
                    which = f"member {items[i].member} question {i % 3}"
                    found[f"{which} log_probs"] = log_probs[log_probs > -torch.inf]
                    found[f"{which} rest"] = rest
        for parameter in stack.parameters():
            parameter.requires_grad_(True)
        optimizer = MemberAdamW(stack, clip=0.0)
        start = [parameter.detach().clone() for parameter in stack.parameters()]
        found |= take_step(
            attachment,
            optimizer,
            batches,
            prior=product,
            l2=0.01,
            lr=LR,
            answer_format=answer_format,
            normalisation="sum",
            token_budget=budget,
        )
    # After one step AdamW's first moment is a tenth of the gradient; a step itself is little more than its sign.
    found |= {name: value for name, value in optimizer.state().items() if name.endswith("exp_avg")}
    for before, after in zip(start, stack.parameters(), strict=True):
        assert (before - after).abs().max() > LR / 2, "nothing was learned, so that equality says nothing"
    return found


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        scale = max(1.0, value.abs().max().item()) if "exp_avg" in name else 1.0
        torch.testing.assert_close(
            found[name], value, atol=1e-5 * scale, rtol=1e-5, msg=lambda m, name=name: f"{name}: {m}"
        )


@pytest.fixture(params=["letter", "text"], name="answer_format")
def the_answer_format(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=tiny.ARCHITECTURES, name="name")
def the_name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(name="expected", scope="module")
def the_expected() -> Callable[[str, str], dict[str, Tensor]]:
    """Each question in a pass of its own, so that nothing is shared, through a whole last layer."""
    known: dict[tuple[str, str], dict[str, Tensor]] = {}

    def of(name: str, answer_format: str) -> dict[str, Tensor]:
        if (name, answer_format) not in known:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(attention, "only_where_read", lambda _: nullcontext())
                known[name, answer_format] = results(name, answer_format, budget=1)
        return known[name, answer_format]

    return of


@pytest.mark.parametrize(
    ("budget", "order"),
    [(1, (0, 1, 2)), (10_000, (0, 1, 2)), (40, (2, 0, 1))],
    ids=["last layer cut", "and openings shared", "passes cut, members turned"],
)
def test_what_saves_work_changes_no_result(
    name: str, answer_format: str, budget: int, order: Sequence[int], expected: Callable
) -> None:
    assert_same(results(name, answer_format, budget=budget, order=order), expected(name, answer_format))


def test_openings_are_shared_in_a_large_pass_and_not_in_small_ones(answer_format: str) -> None:
    items = [item for batch in asked(answer_format) for item in batch]
    assert build_pack(items).tokens == sum(item.tokens() for item in items) - 3 * 2 * len(OPENING)
    assert [len(run) for run in plan_packs(items, 1)] == [1] * 9
    middle = [len({items[i].member for i in run}) for run in plan_packs(items, 40)]
    assert 3 < len(middle) < 9, "passes of several questions, and several passes a member"


def test_the_last_layer_sees_what_is_read_and_the_others_all(name: str, answer_format: str) -> None:
    model = tiny.model(name)
    stack = random_stack(model, members=3)
    pack = build_pack([item for batch in asked(answer_format) for item in batch])
    seen: dict[int, set[int]] = {}

    def look(place: int) -> Callable:
        return lambda module, inputs: seen.setdefault(place, set()).add(inputs[0].shape[-2])

    def score(attachment: Attachment, *, dropout: bool = False) -> dict[int, set[int]]:
        seen.clear()
        score_pack(attachment, pack, answer_format=answer_format, dropout=dropout)
        return dict(seen)

    layers = decoder_layers(model)
    assert len(layers) == 3
    with torch.no_grad(), attached(model, stack) as attachment:
        for place, layer in enumerate(layers):
            part = layer.mlp.part if place == 2 else layer.mlp
            part.register_forward_pre_hook(look(place))
        assert score(attachment) == {0: {pack.tokens}, 1: {pack.tokens}, 2: {len(pack.kept)}}
        assert score(attachment, dropout=True)[2] == {pack.tokens}, "dropout is drawn for every token"
    assert len(pack.kept) < pack.tokens
    assert not any("part" in module_name.split(".") for module_name, _ in model.named_modules()), "taken off again"
