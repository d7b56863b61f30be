"""Attention over packs, by each of its ways, against a loop over queries and the keys that each may see."""

import dataclasses
import math

import pytest
import torch
from torch import Tensor, nn

from kvorum.adapters import find_targets, kaiming_uniform_stack
from kvorum.engine import Item, Pack, attached, attention, build_pack, packed_attention, score_pack
from kvorum.engine.attention import prepared
from kvorum.engine.blocks import _attend as attend
from kvorum.engine.blocks import _attend_backward as attend_backward
from kvorum.engine.blocks import blocks
from kvorum.engine.pack import HeadPlaces
from kvorum.engine.short import _attend as attend_short
from kvorum.engine.short import _attend_backward as attend_short_backward
from kvorum.engine.short import head_places
from tests import tiny
from tests.engine.test_pack import row

DIM = 5


def of_lengths(lengths: list[int], candidates: tuple[tuple[int, ...], ...]) -> list[tiny.Encoded]:
    return [tiny.Encoded(tuple(range(100 * n, 100 * n + n)), candidates, 0) for n in lengths]


PACKS = {
    "letters": [Item(0, q) for q in tiny.questions(4, "letter")],
    "texts": [Item(0, q) for q in tiny.questions(4, "text")],
    "letters with an opening": [Item(m, q) for m in (0, 1) for q in tiny.questions(3, "letter", m, (1, 2, 3, 4))],
    "texts with an opening": [Item(m, q) for m in (0, 1) for q in tiny.questions(3, "text", m, (1, 2, 3, 4))],
    "letters in several blocks": [Item(0, q) for q in of_lengths([30, 4, 12, 11, 1, 29], ((0,), (1,)))],
    "texts in several blocks": [Item(0, q) for q in of_lengths([25, 4, 9, 1, 24], ((0, 1, 2), (1,), (3, 4)))],
}


@pytest.fixture(params=PACKS, name="items")
def the_items(request: pytest.FixtureRequest) -> list[Item]:
    return PACKS[request.param]


def test_the_packs_are_what_their_names_say() -> None:
    for name, items in PACKS.items():
        pack = build_pack(items)
        assert pack.layout.branched == ("texts" in name)
        assert (pack.tokens < sum(item.tokens() for item in items)) == ("opening" in name)
        assert len(list(blocks(pack.layout.sizes))) >= (3 if "blocks" in name else 1)


def drawn(tokens: int, heads: int, key_heads: int, value_dim: int = DIM) -> tuple[list[Tensor], Tensor]:
    """Queries, keys and values, which take gradients, and weights for the sum of the outputs that is derived."""
    draw = torch.Generator().manual_seed(0)
    shapes = [(heads, DIM), (key_heads, DIM), (key_heads, value_dim), (heads, value_dim)]
    *heads_of, weights = (torch.randn(tokens, *shape, generator=draw, dtype=torch.float64) for shape in shapes)
    return [x.requires_grad_() for x in heads_of], weights


def reference(q: Tensor, k: Tensor, v: Tensor, items: list[Item], pack: Pack, window: int | None) -> Tensor:
    """Query by query: those keys of its own sequence that it may see, and a softmax over them."""
    group = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
    found: dict[int, Tensor] = {}
    for index, item in enumerate(items):
        tokens = pack.layout.gather[row(pack, index)].tolist()
        prompt = len(item.question.prompt)
        places = [(0, position) for position in range(prompt)]
        for number, candidate in enumerate(item.question.candidates, start=1):
            places += [(number, prompt + i) for i in range(len(candidate) - 1)]
        for token, (branch, position) in zip(tokens, places, strict=False):
            seen = [
                other
                for other, (of, at) in zip(tokens, places, strict=False)
                if of in {0, branch} and at <= position and (window is None or position - at < window)
            ]
            scores = torch.einsum("hd,shd->sh", q[token], k[seen]) / math.sqrt(DIM)
            found.setdefault(token, torch.einsum("sh,shd->hd", scores.softmax(0), v[seen]))
    return torch.stack([found[token] for token in range(len(q))])


def differentiated(out: Tensor, weights: Tensor, inputs: list[Tensor]) -> list[Tensor]:
    return [out.detach(), *torch.autograd.grad((out * weights).sum(), inputs)]


def run(pack: Pack, inputs: list[Tensor], *, short: bool, **extra: object) -> Tensor:
    heads, key_heads = inputs[0].shape[1], inputs[1].shape[1]
    places = {(heads, key_heads): head_places(pack.layout, heads, key_heads)} if short else {}
    layout = dataclasses.replace(pack.layout, places=places)
    each = [x.transpose(0, 1).unsqueeze(0) for x in inputs]
    return packed_attention(nn.Identity(), *each, None, kvorum_layout=layout, **extra)[0][0]


@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize(("heads", "key_heads"), [(9, 3), (4, 4)])
def test_outputs_and_gradients_are_those_of_a_loop(
    items: list[Item], heads: int, key_heads: int, window: int | None
) -> None:
    pack = build_pack(items)
    inputs, weights = drawn(pack.tokens, heads, key_heads)
    expected = differentiated(reference(*inputs, items, pack, window), weights, inputs)
    for short in (True, False):
        got = differentiated(run(pack, inputs, short=short, sliding_window=window), weights, inputs)
        for one, two in zip(got, expected, strict=True):
            torch.testing.assert_close(one, two, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("window", [None, 3])
def test_the_ways_beside_them_agree(items: list[Item], window: int | None) -> None:
    pack = build_pack(items)
    # Values of another size than keys take PyTorch's attention over the whole padding, as on a GPU.
    inputs, weights = drawn(pack.tokens, 6, 2, value_dim=7)
    expected = differentiated(reference(*inputs, items, pack, window), weights, inputs)
    got = differentiated(run(pack, inputs, short=True, sliding_window=window), weights, inputs)
    for one, two in zip(got, expected, strict=True):
        torch.testing.assert_close(one, two, atol=1e-9, rtol=1e-9)
    # A soft-cap and sinks that change nothing take attention written out, whose softmax is in float32.
    for extra in ({"softcap": 1e5}, {"s_aux": torch.full((6,), -1e30, dtype=torch.float64)}):
        out = run(pack, inputs, short=True, sliding_window=window, **extra)
        for one, two in zip(differentiated(out, weights, inputs), expected, strict=True):
            torch.testing.assert_close(one, two, atol=1e-4, rtol=1e-4)


def test_float32_is_float64_rounded(items: list[Item]) -> None:
    pack = build_pack(items)
    inputs, weights = drawn(pack.tokens, 4, 2)
    lower = [x.detach().float().requires_grad_() for x in inputs]
    for short in (True, False):
        expected = differentiated(run(pack, inputs, short=short), weights, inputs)
        got = differentiated(run(pack, lower, short=short), weights.float(), lower)
        for one, two in zip(got, expected, strict=True):
            torch.testing.assert_close(one, two.float(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("answer_format", ["letter", "text"])
def test_sequences_too_long_for_products_written_out_take_the_fused_way(
    answer_format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny.model()
    items = [Item(0, question) for question in tiny.questions(3, answer_format, opening=(5, 6))]
    pack = build_pack(items)
    longest = pack.layout.gather.shape[1]
    stack = kaiming_uniform_stack(find_targets(model, ["q_proj"]), members=[0], rank=2, alpha=4.0, seed=0)
    taken: list[str] = []
    for name in ("attend_short", "attend_in_blocks"):
        way = getattr(attention, name)
        monkeypatch.setattr(attention, name, lambda *a, way=way, name=name: (taken.append(name), way(*a))[1])
    scores = []
    for limit, way in ((longest, "attend_short"), (longest - 1, "attend_in_blocks")):
        monkeypatch.setattr(attention, "LONGEST", limit)
        assert set(prepared(pack.layout, model).places) == ({(4, 2)} if way == "attend_short" else set())
        taken.clear()
        with torch.no_grad(), attached(model, stack) as attachment:
            scores.append(score_pack(attachment, pack, answer_format=answer_format).log_probs)
        assert taken == [way] * 3, "one a layer"
    torch.testing.assert_close(*scores, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("candidates", [((1,), (2,)), ((1, 2), (3, 4, 5))], ids=["letters", "texts"])
def test_the_operators_are_what_they_tell_pytorch(candidates: tuple[tuple[int, ...], ...]) -> None:
    # In one block and with an opening; what lies past the weights of several blocks is never written, and so differs.
    prompts = [(1, 2, 3, *range(start, start + more)) for start, more in ((10, 6), (20, 7), (30, 6))]
    pack = build_pack([Item(0, tiny.Encoded(prompt, candidates, 0)) for prompt in prompts])
    assert len(list(blocks(pack.layout.sizes))) == 1 and pack.layout.branched == (len(candidates[0]) > 1)
    (q, k, v), gradient = drawn(pack.tokens, 4, 2)
    layout, mask, scale = pack.layout, pack.layout.mask(None), 0.5
    index = (layout.gather, layout.scatter, layout.sizes)
    torch.library.opcheck(attend, (q, k, v, *index, mask, scale))
    plain = [x.detach() for x in (q, k, v)]
    out = attend(*plain, *index, mask, scale)
    torch.library.opcheck(attend_backward, (gradient, *plain, *out, *index, mask, scale))

    places: HeadPlaces = head_places(layout, 4, 2)
    index = (places.take, places.take_key, places.back, places.back_key, places.besides, layout.sizes)
    length = layout.gather.shape[1]
    torch.library.opcheck(attend_short, (q, k, v, *index, mask, length, scale))
    _, *saved = attend_short(*plain, *index, mask, length, scale)
    torch.library.opcheck(attend_short_backward, (gradient, *saved, *index, scale))
