"""Which members go to a worker together, and where a group lies: in a folder of the run, itself a run directory."""

from collections.abc import Sequence

from kvorum.cluster.storage import Storage
from kvorum.errors import KvorumError
from kvorum.run.directory import GROUPS


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
    names = {name.partition("/")[0] for name in groups.names() if name.endswith("/manifest.json")}
    return {name: groups.within(name) for name in sorted(names)}


def begun_per_worker(run: Storage, members: Sequence[int]) -> int | None:
    """How many members were put into a group, by the groups that are begun; None where there is none, or they are of
    several kinds.
    """
    begun = there(run).keys()
    sizes = range(1, len(members) + 1) if begun else ()
    return next((size for size in sizes if begun <= _names(grouped(members, size))), None)


def refuse_other_groups(run: Storage, groups: Sequence[Sequence[int]]) -> None:
    """Raise `KvorumError` where members are begun in other groups than these."""
    if other := sorted(there(run).keys() - _names(groups)):
        first, last = map(int, other[0].split("-"))
        begun = begun_per_worker(run, [member for group in groups for member in group])
        way = f"go on with --members-per-worker {begun}, or " if begun else ""
        raise KvorumError(f"{run}: members {first} to {last} are begun as one group; {way}remove {run.within(GROUPS)}")


def _names(groups: Sequence[Sequence[int]]) -> set[str]:
    return {name_of(members) for members in groups}
