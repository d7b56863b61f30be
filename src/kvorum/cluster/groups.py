"""Which members go to a worker together, and where a group lies: in a folder of the run, itself a run directory."""

import json
import re
from collections.abc import Sequence

from kvorum.cluster.storage import Storage
from kvorum.errors import KvorumError
from kvorum.run.directory import GROUPS

LIST = f"{GROUPS}/groups.json"
"""The members of every group, since the names of those that are begun do not tell how the others were to be."""
NAMED = re.compile(r"[0-9]{5,}-[0-9]{5,}")


def grouped(members: Sequence[int], per_worker: int) -> list[tuple[int, ...]]:
    """The members in groups of so many, neighbours together; the last group may be smaller."""
    return [tuple(members[first : first + per_worker]) for first in range(0, len(members), per_worker)]


def name_of(members: Sequence[int]) -> str:
    """The name of a group's folder."""
    return f"{members[0]:05d}-{members[-1]:05d}"


def said(members: Sequence[int]) -> str:
    """A group in words."""
    return f"member {members[0]}" if len(members) == 1 else f"members {members[0]}-{members[-1]}"


def storage_of(run: Storage, members: Sequence[int]) -> Storage:
    """Where a group of a run lies."""
    return run.within(GROUPS).within(name_of(members))


def there(run: Storage) -> dict[str, Storage]:
    """The groups that are begun, by the names of their folders."""
    groups = run.within(GROUPS)
    parts = [name.split("/") for name in groups.names()]
    names = {folder for folder, *rest in parts if rest == ["manifest.json"] and NAMED.fullmatch(folder)}
    return {name: groups.within(name) for name in sorted(names)}


def keep_groups(run: Storage, groups: Sequence[Sequence[int]]) -> None:
    """Write down which groups a fit is done in, for whoever goes on with it."""
    run.write(LIST, json.dumps([list(members) for members in groups]).encode())


def begun_per_worker(run: Storage, members: Sequence[int]) -> int | None:
    """How many members were put into a group, where any is begun; None where there is none, or they are of several
    kinds.
    """
    begun, kept = there(run).keys(), _kept(run)
    if not begun:
        return None
    if kept is not None:
        return len(kept[0]) if kept == grouped(members, len(kept[0])) else None
    return next((size for size in range(1, len(members) + 1) if begun <= _names(grouped(members, size))), None)


def refuse_other_groups(run: Storage, groups: Sequence[Sequence[int]]) -> None:
    """Raise `KvorumError` where members are begun in other groups than these."""
    begun, kept = there(run).keys(), _kept(run)
    same = _names(groups) if kept is None else _names([one for one in kept if one in set(map(tuple, groups))])
    if other := sorted(begun - same):
        first, last = map(int, other[0].split("-"))
        size = begun_per_worker(run, [member for group in groups for member in group])
        way = f"go on with --members-per-worker {size}, or " if size else ""
        raise KvorumError(f"{run}: members {first} to {last} are begun as one group; {way}remove {run.within(GROUPS)}")


def _kept(run: Storage) -> list[tuple[int, ...]] | None:
    """The groups that are written down; None in a run that is older than that, whose groups' names must do."""
    content = run.read(LIST)
    if content is None:
        return None
    try:
        kept = [tuple(members) for members in json.loads(content)]
        if not kept or not all(members and all(type(one) is int for one in members) for members in kept):
            raise ValueError("no members in groups")
    except (ValueError, TypeError, RecursionError) as error:
        raise KvorumError(f"{run}/{LIST}: is damaged ({error}); remove it, or {run.within(GROUPS)}") from None
    return kept


def _names(groups: Sequence[Sequence[int]]) -> set[str]:
    return {name_of(members) for members in groups}
