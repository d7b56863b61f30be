import torch

from kvorum.engine import Item, build_pack, plan_packs
from tests import tiny

FIRST = tiny.Encoded(prompt=(1, 2, 3), candidates=((4, 5), (6,), (7, 8, 9)), answer=0)
SECOND = tiny.Encoded(prompt=(10, 11), candidates=((12,), (13, 14)), answer=1)


def test_tokens_positions_and_what_is_read() -> None:
    pack = build_pack([Item(0, FIRST), Item(2, SECOND)])
    assert pack.input_ids.tolist() == [1, 2, 3, 4, 7, 8, 10, 11, 13]
    assert pack.position_ids.tolist() == [0, 1, 2, 3, 3, 4, 0, 1, 2]
    assert pack.members == (0, 2) and pack.member_tokens == (6, 3) and pack.tokens == 9
    assert FIRST and Item(0, FIRST).tokens() == 6
    # every candidate token, and the token from whose position it is predicted
    before = pack.input_ids[pack.kept[pack.read_row]].tolist()
    assert list(zip(pack.read_slot.tolist(), before, pack.read_token.tolist(), strict=True)) == [
        (0, 3, 4), (0, 4, 5), (1, 3, 6), (2, 3, 7), (2, 7, 8), (2, 8, 9), (3, 11, 12), (4, 11, 13), (4, 13, 14),
    ]  # fmt: skip
    assert len(set(pack.kept.tolist())) == len(pack.kept)
    assert pack.lengths.tolist() == [[2, 1, 3], [1, 2, 0]]


def test_a_candidate_sees_its_prompt_and_itself_within_the_window() -> None:
    layout = build_pack([Item(0, FIRST), Item(0, SECOND)]).layout
    assert layout.sizes.tolist() == [3, 6], "from the shortest to the longest"
    first = layout.allowed(None)[1]
    assert [row.nonzero().flatten().tolist() for row in first] == [
        [0], [0, 1], [0, 1, 2], [0, 1, 2, 3], [0, 1, 2, 4], [0, 1, 2, 4, 5],
    ]  # fmt: skip
    windowed = layout.allowed(2)[1]
    assert [row.nonzero().flatten().tolist() for row in windowed] == [[0], [0, 1], [1, 2], [2, 3], [2, 4], [4, 5]]
    second = layout.allowed(None)[0]
    assert [row.nonzero().flatten().tolist() for row in second[:3]] == [[0], [0, 1], [0, 1, 2]]
    assert second.any(-1).all(), "a softmax over nothing is NaN"


def test_gather_and_scatter_are_inverse() -> None:
    pack = build_pack([Item(0, q) for q in tiny.questions(5, "text")])
    padded = pack.input_ids[pack.layout.gather]
    assert torch.equal(padded.flatten()[pack.layout.scatter], pack.input_ids)
    assert torch.equal(pack.layout.positions.flatten()[pack.layout.scatter], pack.position_ids)


def test_passes_keep_the_order_and_the_budget() -> None:
    items = [Item(0, q) for q in tiny.questions(20, "text")]
    runs = list(plan_packs(items, 60))
    assert [i for run in runs for i in run] == list(range(20)) and len(runs) > 1
    sizes = [sum(items[i].tokens() for i in run) for run in runs]
    assert all(size <= 60 for size in sizes)
    nexts = [items[run[0]].tokens() for run in runs[1:]]
    assert all(size + following > 60 for size, following in zip(sizes, nexts, strict=False)), "passes are filled"
    assert list(plan_packs(items[:3], 1)) == [[0], [1], [2]]
    assert list(plan_packs([], 10)) == []
