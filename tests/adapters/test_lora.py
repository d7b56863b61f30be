"""What the adapters add, by each of its ways, against a loop over tokens."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from kvorum.adapters import Route, lora
from kvorum.adapters.lora import _by_member, _by_member_backward, by_member, concatenated, low_rank

MEMBERS, RANK, IN, OUT, SCALING = 4, 2, 5, 3, 1.5
# Not in the order of the stack, and none for member 1.
POSITIONS, TOKENS = (2, 0, 3), (4, 1, 6)
ROUTE = Route.of(POSITIONS, TOKENS, members=MEMBERS, device=torch.device("cpu"))
Way = Callable[[Tensor, Tensor, Tensor], Tensor]
WAYS: dict[str, Way] = {
    "by member": lambda x, a, b: by_member(x, a, b, ROUTE.spans, SCALING),
    "concatenated": lambda x, a, b: concatenated(x, a, b, ROUTE.owner, SCALING),
}


def drawn() -> tuple[list[Tensor], Tensor]:
    """x, a and b, and the gradient of what comes out."""
    draw = torch.Generator().manual_seed(0)
    shapes = [(sum(TOKENS), IN), (MEMBERS, RANK, IN), (MEMBERS, OUT, RANK), (sum(TOKENS), OUT)]
    *inputs, gradient = (torch.randn(shape, generator=draw, dtype=torch.float64) for shape in shapes)
    return inputs, gradient


def results(way: Way, inputs: list[Tensor], gradient: Tensor) -> list[Tensor]:
    """What comes out, and the gradients of x, a and b."""
    inputs = [x.clone().requires_grad_() for x in inputs]
    out = way(*inputs)
    return [out.detach(), *torch.autograd.grad(out, inputs, gradient)]


def loop(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
    owners = [m for m, count in zip(POSITIONS, TOKENS, strict=True) for _ in range(count)]
    return torch.stack([SCALING * (b[m] @ (a[m] @ token)) for token, m in zip(x, owners, strict=True)])


@pytest.fixture(params=WAYS, name="way")
def the_way(request: pytest.FixtureRequest) -> Way:
    return WAYS[request.param]


def test_each_token_goes_through_the_adapter_of_its_member(way: Way) -> None:
    inputs, gradient = drawn()
    for got, expected in zip(results(way, inputs, gradient), results(loop, inputs, gradient), strict=True):
        torch.testing.assert_close(got, expected, atol=1e-12, rtol=1e-12)


def test_a_member_without_tokens_gets_zero_gradients(way: Way) -> None:
    _, _, for_a, for_b = results(way, *drawn())
    assert not for_a[1].any() and not for_b[1].any()
    assert all(for_a[m].any() and for_b[m].any() for m in POSITIONS)


@pytest.mark.parametrize("poison", [torch.nan, torch.inf])
@pytest.mark.parametrize("where", ["tokens", "gradient"])
@pytest.mark.parametrize("diverged", POSITIONS)
def test_a_diverged_member_leaves_the_others_exactly_as_they_are(
    way: Way, diverged: int, where: str, poison: float
) -> None:
    inputs, gradient = drawn()
    sound = results(way, inputs, gradient)
    own = (ROUTE.owner == diverged).nonzero()[-1]
    (inputs[0] if where == "tokens" else gradient)[own, 1] = poison
    out, for_x, for_a, for_b = results(way, inputs, gradient)
    others, spared = ROUTE.owner != diverged, [m for m in range(MEMBERS) if m != diverged]
    for got, expected, kept in zip((out, for_x, for_a, for_b), sound, (others, others, spared, spared), strict=True):
        assert torch.equal(got[kept], expected[kept])
    if where == "gradient":
        assert not for_x[own].isfinite().any()
        assert not for_a[diverged].isfinite().all() and not for_b[diverged].isfinite().all()


@pytest.mark.parametrize(
    ("device", "members", "rank", "chosen"),
    [
        ("cpu", 2, 2, "by_member"),
        ("meta", 2, 2, "concatenated"),
        ("meta", 16, 16, "concatenated"),
        ("meta", 257, 1, "by_member"),
    ],
)
def test_few_rows_of_all_members_are_concatenated_but_on_a_cpu(
    device: str, members: int, rank: int, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = []
    for name in ("by_member", "concatenated"):
        monkeypatch.setattr(lora, name, lambda x, a, b, *_, name=name: (taken.append(name), x.new_zeros(3, OUT))[1])
    x, a = torch.zeros(3, IN, device=device), torch.zeros(members, rank, IN, device=device)
    b = torch.zeros(members, OUT, rank, device=device)
    low_rank(x, a, b, torch.zeros(members, 2, dtype=torch.long), torch.zeros(3, dtype=torch.long, device=device), 1.0)
    assert taken == [chosen]


def test_the_operators_are_what_they_tell_pytorch() -> None:
    inputs, gradient = drawn()
    torch.library.opcheck(_by_member, (*(x.clone().requires_grad_() for x in inputs), ROUTE.spans, SCALING))
    x, a, b = inputs
    _, down = _by_member(x, a, b, ROUTE.spans, SCALING)
    torch.library.opcheck(_by_member_backward, (gradient, x, down, a, b, ROUTE.spans, SCALING))


@pytest.mark.parametrize("name", WAYS)
def test_inputs_in_half_precision_meet_adapters_in_full(name: str) -> None:
    (x, a, b), gradient = drawn()
    x, a, b, gradient = x.bfloat16(), a.float(), b.float(), gradient.float()

    def way(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
        # On a CPU `low_rank` goes by member.
        return WAYS[name](x, a, b) if name == "concatenated" else low_rank(x, a, b, ROUTE.spans, ROUTE.owner, SCALING)

    found, wanted = results(way, [x, a, b], gradient), results(loop, [x.float(), a, b], gradient)
    assert found[0].dtype == torch.float32 and found[1].dtype == torch.bfloat16
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one.float(), other, rtol=1e-2 if one.dtype == torch.bfloat16 else 1e-5, atol=1e-5)
