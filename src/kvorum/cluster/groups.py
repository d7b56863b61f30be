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


def begun_per_worker(run: Storage) -> int | None:
    """How many members groups that are begun have; None where there is none."""
    sizes = [last - first + 1 for first, last in map(_ends, there(run))]
    return max(sizes, default=None)


def refuse_other_groups(run: Storage, groups: Sequence[Sequence[int]]) -> None:
    """Raise `KvorumError` where members are begun in other groups than these."""
    begun, asked = there(run), {name_of(members) for members in groups}
    if other := sorted(begun.keys() - asked):
        first, last = _ends(other[0])
        raise KvorumError(
            f"{run}: members {first} to {last} are begun as one group; go on with --members-per-worker "
            f"{begun_per_worker(run)}, or remove {run.within(GROUPS)}"
        )


def _ends(name: str) -> tuple[int, int]:
    first, _, last = name.partition("-")
    return int(first), int(last)
