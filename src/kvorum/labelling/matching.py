"""Which row holds a question, once another program has moved rows, added some or taken some away."""

from collections import defaultdict
from collections.abc import Hashable, Sequence
from typing import NamedTuple

from kvorum.labelling.contents import Contents


class Known(NamedTuple):
    """By what a question is found again."""

    id: str | None
    """None where its row has none."""
    content: Hashable


def known(contents: Contents) -> list[Known]:
    """What there is of each question, in their order."""
    both = zip(contents.questions, contents.named, strict=True)
    return [Known(one.id if named else None, (one.question, one.choices)) for one, named in both]


def rows_of(before: Sequence[Known], after: Sequence[Known]) -> list[int | None]:
    """The row of each question: by its id and content; or by its content, where that is there once or where as many
    rows without an id have it as before, which are taken in their order."""
    by_id = {one: row for row, one in enumerate(after) if one.id is not None}
    rows = [by_id.get(one) for one in before]
    alike_now = _alike(after)
    for content, places in _alike(before).items():
        found = alike_now.get(content, [])
        if len(places) == len(found) == 1:
            rows[places[0]] = found[0]
            continue
        without = [place for place in places if before[place].id is None]
        now_without = [row for row in found if after[row].id is None]
        if len(without) == len(now_without):
            for place, row in zip(without, now_without, strict=True):
                rows[place] = row
    return rows


def _alike(known: Sequence[Known]) -> dict[Hashable, list[int]]:
    found: dict[Hashable, list[int]] = defaultdict(list)
    for place, one in enumerate(known):
        found[one.content].append(place)
    return found
