import torch
from hypothesis import given
from hypothesis import strategies as st

from kvorum.engine import Item, Pack, build_pack, plan_packs
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


LONG = tiny.Encoded(prompt=(20, 21, 22, 1, 2), candidates=((4, 5), (6,)), answer=0)
SHORT = tiny.Encoded(prompt=(20, 21, 22, 3), candidates=((7, 8), (6,)), answer=0)


def test_what_all_prompts_of_a_member_begin_with_is_laid_down_once_and_only_for_that_member() -> None:
    pack = build_pack([Item(0, LONG), Item(0, SHORT), Item(1, SHORT)])
    assert pack.input_ids.tolist() == [20, 21, 22, 1, 2, 4, 3, 7, 20, 21, 22, 3, 7]
    assert pack.position_ids.tolist() == [0, 1, 2, 3, 4, 5, 3, 4, 0, 1, 2, 3, 4]
    assert pack.members == (0, 1) and pack.member_tokens == (8, 5) and pack.tokens == 13
    assert pack.item_tokens == ((0, 6), (0, 2), (0, 5))
    layout = pack.layout
    assert layout.sizes.tolist() == [5, 5, 6]
    assert [row[:size] for row, size in zip(layout.gather.tolist(), [5, 5, 6], strict=True)] == [
        [0, 1, 2, 6, 7], [8, 9, 10, 11, 12], [0, 1, 2, 3, 4, 5],
    ]  # fmt: skip
    assert layout.branch.tolist() == [[0, 0, 0, 0, 1, -1], [0, 0, 0, 0, 1, -1], [0, 0, 0, 0, 0, 1]]
    assert layout.scatter.tolist() == [12, 13, 14, 15, 16, 17, 3, 4, 6, 7, 8, 9, 10], "the first question's places"
    assert pack.kept.tolist() == [4, 5, 6, 7, 11, 12] and pack.member_kept == (4, 2)
    before = pack.input_ids[pack.kept[pack.read_row]].tolist()
    assert list(zip(pack.read_slot.tolist(), before, pack.read_token.tolist(), strict=True)) == [
        (0, 2, 4), (0, 4, 5), (1, 2, 6), (2, 3, 7), (2, 7, 8), (3, 3, 6), (4, 3, 7), (4, 7, 8), (5, 3, 6),
    ]  # fmt: skip


def test_dropout_leaves_nothing_to_share() -> None:
    pack = build_pack([Item(0, LONG, 5), Item(0, SHORT, 6)])
    assert pack.tokens == pack.member_tokens[0] == 11
    assert pack.item_tokens == ((5, 6), (6, 5))


def test_a_prompt_that_another_begins_with_keeps_its_last_token_for_itself() -> None:
    whole = tiny.Encoded(prompt=(20, 21, 22), candidates=((9, 8), (6,)), answer=0)
    for items in ([whole, LONG], [LONG, whole], [whole, whole]):
        pack = build_pack([Item(0, question) for question in items])
        assert pack.tokens == sum(Item(0, question).tokens() for question in items) - 2
        assert len(set(pack.kept[pack.read_row[[0, 3]]].tolist())) == 2, "each reads at a token of its own"


def row(pack: Pack, index: int) -> int:
    """The row of the layout in which an item lies: that of the token which predicts its first candidate's first."""
    read = pack.read_slot.tolist().index(index * pack.width)
    return int(pack.layout.scatter[pack.kept[pack.read_row[read]]]) // pack.layout.gather.shape[1]


# Of three tokens only, so that prompts often begin alike.
texts = st.lists(st.integers(0, 2), min_size=1, max_size=6).map(tuple)
questions = st.builds(
    tiny.Encoded,
    prompt=st.one_of(texts, texts.map(lambda end: (1, 0, 2, 1, *end))),
    candidates=st.lists(texts, min_size=1, max_size=3).map(tuple),
    answer=st.just(0),
)


@given(st.lists(st.lists(questions, min_size=1, max_size=4), min_size=1, max_size=3))
def test_what_is_read_off_the_grid_is_each_question_whole(members: list[list[tiny.Encoded]]) -> None:
    items = [Item(member, question) for member, asked in enumerate(members) for question in asked]
    pack = build_pack(items)
    layout, length = pack.layout, pack.layout.gather.shape[1]
    assert sorted(row(pack, index) for index in range(len(items))) == list(range(len(items)))
    assert layout.sizes.tolist() == sorted(item.tokens() for item in items) and length == max(layout.sizes)
    assert torch.equal(layout.gather.flatten()[layout.scatter], torch.arange(pack.tokens))

    shared = {}
    for member, asked in enumerate(members):
        prompts = [question.prompt for question in asked]
        begun = max(n for n in range(min(map(len, prompts))) if len({prompt[:n] for prompt in prompts}) == 1)
        shared[member] = begun * (len(asked) - 1)
    assert pack.tokens == sum(item.tokens() for item in items) - sum(shared.values())
    assert pack.member_tokens == tuple(sum(Item(0, q).tokens() for q in members[m]) - shared[m] for m in shared)
    owner = torch.repeat_interleave(torch.tensor(pack.members), torch.tensor(pack.member_tokens))
    kept_owner = torch.repeat_interleave(torch.tensor(pack.members), torch.tensor(pack.member_kept))
    assert torch.equal(owner[pack.kept], kept_owner), "what is read is routed as its tokens are"

    expected = []
    for index, item in enumerate(items):
        prompt, candidates = item.question.prompt, item.question.candidates
        here, size = row(pack, index), item.tokens()
        tokens = layout.gather[here, :size]
        assert pack.input_ids[tokens].tolist() == [*prompt, *(t for c in candidates for t in c[:-1])]
        positions = [*range(len(prompt)), *(len(prompt) + i for c in candidates for i in range(len(c) - 1))]
        assert layout.positions[here, :size].tolist() == pack.position_ids[tokens].tolist() == positions
        branch = [0] * len(prompt) + [n for n, c in enumerate(candidates, start=1) for _ in c[:-1]]
        assert layout.branch[here].tolist() == branch + [-1] * (length - size)
        assert (layout.gather[here, size:] == tokens[0]).all() and (owner[tokens] == item.member).all()
        for number, candidate in enumerate(candidates):
            first = len(prompt) + sum(len(c) - 1 for c in candidates[:number])
            read_at = [len(prompt) - 1, *range(first, first + len(candidate) - 1)]
            expected += [
                (index * pack.width + number, int(tokens[place]), token)
                for place, token in zip(read_at, candidate, strict=True)
            ]
    read = zip(pack.read_slot.tolist(), pack.kept[pack.read_row].tolist(), pack.read_token.tolist(), strict=True)
    assert list(read) == expected


@given(st.lists(questions, max_size=12), st.integers(1, 80))
def test_passes_keep_the_order_and_the_budget(asked: list[tiny.Encoded], budget: int) -> None:
    items = [Item(0, question) for question in asked]
    runs = list(plan_packs(items, budget))
    assert [i for run in runs for i in run] == list(range(len(items)))
    sizes = [sum(items[i].tokens() for i in run) for run in runs]
    assert all(size <= budget or len(run) == 1 for size, run in zip(sizes, runs, strict=True))
    assert (len(runs) <= 1) == (sum(sizes) <= budget or len(items) == 1), "one pass where one is enough"


def test_passes_are_of_about_the_same_size() -> None:
    ten = Item(0, tiny.Encoded(prompt=tuple(range(10)), candidates=((1,), (2,)), answer=0))
    assert [len(run) for run in plan_packs([ten] * 7, 30)] == [2, 3, 2], "and not 3, 3 and 1"
    assert [len(run) for run in plan_packs([ten] * 9, 30)] == [3, 3, 3]
    assert [len(run) for run in plan_packs([ten] * 10, 89)] == [5, 5]
    items = [Item(0, question) for question in tiny.questions(60, "text")]
    sizes = [sum(items[i].tokens() for i in run) for run in plan_packs(items, 200)]
    assert len(sizes) == -(-sum(sizes) // 200)
    # Each pass begins and ends within half a question of where it should.
    assert max(sizes) - min(sizes) <= 2 * max(item.tokens() for item in items)
    assert list(plan_packs(items[:3], 1)) == [[0], [1], [2]]
