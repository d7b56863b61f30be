"""Packs: the tokens of many questions of many members laid end to end, members contiguous, without padding."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from kvorum.adapters.transfer import sent

PlacedT = TypeVar("PlacedT", "Layout", "Pack")


@runtime_checkable
class Scorable(Protocol):
    """A tokenised question: the tokens of its prompt, those of each candidate that follow it, and the right one."""

    @property
    def prompt(self) -> tuple[int, ...]: ...  # noqa: D102
    @property
    def candidates(self) -> tuple[tuple[int, ...], ...]: ...  # noqa: D102
    @property
    def answer(self) -> int | None: ...  # noqa: D102


@dataclasses.dataclass(frozen=True, slots=True)
class Item:
    """A question to be scored by a member."""

    member: int
    """Position along the stack's member axis."""
    question: Scorable
    dropout_seed: int = 0

    def tokens(self) -> int:
        """How many tokens it takes in a pack: its prompt, and every candidate but that one's last token."""
        return len(self.question.prompt) + sum(len(c) - 1 for c in self.question.candidates)


@dataclasses.dataclass(frozen=True)
class HeadPlaces:
    """Where a layout's tokens lie, head by head and block after block: made once a pass, not once a layer."""

    take: Int[Tensor, " place_head"]
    """Of "token head" rows, the one at each place,"""
    take_key: Int[Tensor, " place_key_head"]
    back: Int[Tensor, " token_head"]
    """and the place of each of them."""
    back_key: Int[Tensor, " token_key_head"]
    besides: Int[Tensor, " besides"]
    """How many places are not read, and how many keys are shared; then these places, and the places of the further
    keys with the rows that they add to. One tensor, since an empty one would be compiled for on its own."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where the sequences of a pack lie, for the attention over it: padded, from the shortest to the longest."""

    gather: Int[Tensor, "sequence length"]
    """The token at each place of the padded sequences; padding repeats a sequence's first token."""
    scatter: Int[Tensor, " token"]
    """The place of each token in the padded sequences, flattened; of one that sequences share, the first."""
    sizes: Int[Tensor, " sequence"]
    """How long each sequence is; stays on the CPU, where it is read."""
    positions: Int[Tensor, "sequence length"]
    branch: Int[Tensor, "sequence length"]
    """0 on the prompt, 1, 2, ... on the candidates, -1 on padding."""
    branched: bool
    """Whether any sequence has candidates' tokens, so that plain causal attention is not enough."""
    masks: Mapping[int | None, Bool[Tensor, "sequence 1 length length"]] = dataclasses.field(default_factory=dict)
    """What `mask` gives, by window, where it was made before the layers run."""
    places: Mapping[tuple[int, int], HeadPlaces] = dataclasses.field(default_factory=dict)
    """By numbers of heads and key heads, where they were made before the layers run."""
    elsewhere: dict[torch.device, "Layout"] = dataclasses.field(default_factory=dict)
    """The same layout on the other devices of a model that is spread over several, each sent once."""

    def mask(self, window: int | None) -> Bool[Tensor, "sequence 1 length length"] | None:
        """Which token may attend to which; None where that is all earlier ones."""
        if window is not None and window >= self.gather.shape[1]:
            window = None
        if window is None and not self.branched:
            return None
        return self.masks[window] if window in self.masks else self.allowed(window).unsqueeze(1)

    def allowed(self, window: int | None) -> Bool[Tensor, "sequence length length"]:
        """Which token may attend to which: itself, and the earlier ones of its prompt and of its own candidate."""
        key, query = self.branch.unsqueeze(-2), self.branch.unsqueeze(-1)
        distance = self.positions.unsqueeze(-1) - self.positions.unsqueeze(-2)
        allowed = ((key == 0) | (key == query)) & (distance >= 0)
        if window is not None:
            allowed &= distance < window
        # A padded place attends to itself, since a softmax over nothing is NaN.
        return allowed | torch.eye(self.gather.shape[-1], dtype=torch.bool, device=allowed.device)

    def to(self, device: torch.device) -> "Layout":
        """The same layout on another device."""
        return _moved(self, device)

    def beside(self, x: Tensor) -> "Layout":
        """The same layout on the device of a tensor."""
        if x.device == self.gather.device:
            return self
        if x.device not in self.elsewhere:
            moved = self.to(x.device)
            masks = {window: mask.to(x.device) for window, mask in self.masks.items()}
            self.elsewhere[x.device] = dataclasses.replace(moved, masks=masks, places={})
        return self.elsewhere[x.device]


@dataclasses.dataclass(frozen=True)
class Pack:
    """One pass: tokens, where they lie, and which of the model's predictions are read."""

    input_ids: Int[Tensor, " token"]
    position_ids: Int[Tensor, " token"]
    layout: Layout
    members: tuple[int, ...]
    """Positions along the member axis of the stack, in the order of their tokens."""
    member_tokens: tuple[int, ...]
    member_kept: tuple[int, ...]
    """How many tokens of each member are in `kept`."""
    item_tokens: tuple[tuple[int, int], ...]
    """A dropout seed and a number of tokens an item."""
    kept: Int[Tensor, " kept"]
    """The tokens whose predictions reach the LM head."""
    read_row: Int[Tensor, " read"]
    """For every candidate token: the row of `kept` that predicts it,"""
    read_token: Int[Tensor, " read"]
    """which token it is,"""
    read_slot: Int[Tensor, " read"]
    """and item x candidate it belongs to, as item * width + candidate."""
    width: int
    """The most candidates that an item has."""
    lengths: Int[Tensor, "item candidate"]
    """How many tokens each candidate has; 0 where an item has fewer candidates."""

    @property
    def tokens(self) -> int:
        """How many tokens go through the model."""
        return self.input_ids.shape[0]

    def to(self, device: torch.device) -> "Pack":
        """The same pack on another device."""
        return self if device == self.input_ids.device else _moved(self, device)


def _moved(value: PlacedT, device: torch.device) -> PlacedT:
    fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    for name, field in fields.items():
        if isinstance(field, Tensor) and name != "sizes":
            fields[name] = sent(field, device)
        elif isinstance(field, Layout):
            fields[name] = field.to(device)
    return type(value)(**fields)


def plan_packs(items: Sequence[Item], token_budget: int) -> Iterator[list[int]]:
    """Cut items, in their order, into runs of at most a token budget; an item longer than it makes a pass of its own.

    Runs of about the same size, since what a pass costs beside its tokens is worth it for many tokens only.
    Yields the indices of the items of each pass.
    """
    sizes = [item.tokens() for item in items]
    share = sum(sizes) / max(1, -(-sum(sizes) // token_budget))
    run: list[int] = []
    used = before = 0
    passes = 1
    for index, tokens in enumerate(sizes):
        # The half of an item: it goes to where more of it belongs.
        if run and (used + tokens > token_budget or before + tokens / 2 > passes * share):
            yield run
            run, used = [], 0
            passes += 1
        run.append(index)
        used += tokens
        before += tokens
    if run:
        yield run


def build_pack(items: Sequence[Item]) -> Pack:
    """Lay items end to end.

    The candidates of a question share its prompt's tokens: positions restart after the prompt, and the attention lets
    a candidate see the prompt and itself alone, so that a question costs its prompt and its candidates once each. The
    last token of a candidate predicts nothing that is read, and is left out. What all prompts of a member begin with
    is laid down once, with its first question: what a model computes of a token depends on those before it alone.
    Dropout, which is drawn for each question, leaves nothing to share.

    The items of a member must lie together.
    """
    order = list(dict.fromkeys(item.member for item in items))
    assert [i.member for i in items] == [m for m in order for i in items if i.member == m], "members must be contiguous"
    common = {m: _common([i for i in items if i.member == m]) for m in order}
    # Attention groups sequences of alike lengths, so they lie from the shortest to the longest.
    row_of = {index: row for row, index in enumerate(sorted(range(len(items)), key=lambda i: items[i].tokens()))}
    sizes = torch.zeros(len(items), dtype=torch.long)
    length, width = max(item.tokens() for item in items), max(len(item.question.candidates) for item in items)
    ids: list[int] = []
    token_positions: list[int] = []
    gather = torch.zeros(len(items), length, dtype=torch.long)
    positions = torch.zeros(len(items), length, dtype=torch.long)
    branch = torch.full((len(items), length), -1, dtype=torch.long)
    scatter: list[int] = []
    kept: list[int] = []
    read_row: list[int] = []
    read_token: list[int] = []
    read_slot: list[int] = []
    item_tokens: list[tuple[int, int]] = []
    member_tokens: dict[int, int] = dict.fromkeys(order, 0)
    member_kept: dict[int, int] = dict.fromkeys(order, 0)
    first_of: dict[int, int] = {}
    for index, item in enumerate(items):
        start, prompt = len(ids), item.question.prompt
        before = common[item.member] if item.member in first_of else 0
        ids.extend(prompt[before:])
        place, where = list(range(len(prompt))), [0] * len(prompt)
        kept.append(len(ids) - 1)
        prompt_row = len(kept) - 1
        for number, candidate in enumerate(item.question.candidates):
            fed = len(candidate) - 1
            read_row.extend([prompt_row, *range(len(kept), len(kept) + fed)])
            kept.extend(range(len(ids), len(ids) + fed))
            read_token.extend(candidate)
            read_slot.extend([index * width + number] * len(candidate))
            ids.extend(candidate[:-1])
            place.extend(range(len(prompt), len(prompt) + fed))
            where.extend([number + 1] * fed)
        row, tokens, own = row_of[index], len(place), len(ids) - start
        opening = first_of.setdefault(item.member, start)
        sizes[row] = tokens
        gather[row] = opening if before else start
        gather[row, :before] = torch.arange(opening, opening + before)
        gather[row, before:tokens] = torch.arange(start, len(ids))
        positions[row, :tokens] = torch.tensor(place)
        branch[row, :tokens] = torch.tensor(where)
        token_positions.extend(place[before:])
        scatter.extend(range(row * length + before, row * length + tokens))
        member_tokens[item.member] += own
        member_kept[item.member] += len(kept) - prompt_row
        item_tokens.append((item.dropout_seed, own))
    candidates = torch.zeros(len(items), width, dtype=torch.long)
    for index, item in enumerate(items):
        for number, candidate in enumerate(item.question.candidates):
            candidates[index, number] = len(candidate)
    return Pack(
        input_ids=torch.tensor(ids),
        position_ids=torch.tensor(token_positions),
        layout=Layout(
            gather=gather,
            scatter=torch.tensor(scatter),
            sizes=sizes,
            positions=positions,
            branch=branch,
            branched=bool((branch > 0).any()),
        ),
        members=tuple(order),
        member_tokens=tuple(member_tokens.values()),
        member_kept=tuple(member_kept.values()),
        item_tokens=tuple(item_tokens),
        kept=torch.tensor(kept),
        read_row=torch.tensor(read_row),
        read_token=torch.tensor(read_token),
        read_slot=torch.tensor(read_slot),
        width=width,
        lengths=candidates,
    )


def _common(items: Sequence[Item]) -> int:
    """How many tokens all prompts begin with, each keeping its last one for itself, which is read."""
    if len(items) == 1 or any(item.dropout_seed for item in items):
        return 0
    first, *others = (item.question.prompt for item in items)
    common = min(map(len, (first, *others))) - 1
    for other in others:
        common = next((i for i in range(common) if first[i] != other[i]), common)
    return common
