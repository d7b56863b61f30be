from pathlib import Path

import pytest

import kvorum
from kvorum.cluster.groups import (
    begun_per_worker,
    grouped,
    keep_groups,
    name_of,
    refuse_other_groups,
    said,
    storage_of,
    there,
)
from kvorum.cluster.storage import Storage


def begun(folder: Path, *groups: tuple[int, ...]) -> Storage:
    run = Storage(str(folder))
    run.write("groups/shared", b"a token")
    for members in groups:
        storage_of(run, members).write("manifest.json", b"{}")
    return run


def test_neighbours_go_together_and_the_last_group_may_be_smaller() -> None:
    assert grouped(range(5), 2) == [(0, 1), (2, 3), (4,)]
    assert grouped(range(4), 9) == [(0, 1, 2, 3)]
    assert [name_of(members) for members in grouped(range(3), 2)] == ["00000-00001", "00002-00002"]
    assert [said(members) for members in grouped(range(3), 2)] == ["members 0-1", "member 2"]


def test_only_a_group_with_a_manifest_is_begun(tmp_path: Path) -> None:
    run = begun(tmp_path, (2, 3))
    run.write("groups/00000-00001/owner", b"somebody")
    assert list(there(run)) == ["00002-00003"]
    assert list(there(Storage(str(tmp_path / "none")))) == []


@pytest.mark.parametrize(
    ("groups", "size"),
    [
        ([], None),
        ([(0, 1, 2)], 3),
        ([(0, 1, 2), (3, 4)], 3),
        ([(3, 4)], 3),  # the last group alone is smaller than the others will be
        ([(4,)], 1),
        ([(0,), (1, 2)], None),
    ],
)
def test_groups_that_are_begun_tell_how_many_members_were_put_together(
    groups: list[tuple[int, ...]], size: int | None, tmp_path: Path
) -> None:
    run = begun(tmp_path, *groups)
    assert begun_per_worker(run, range(5)) == size
    if size:
        refuse_other_groups(run, grouped(range(5), size))


def test_other_groups_are_refused_and_the_way_on_is_one(tmp_path: Path) -> None:
    run = begun(tmp_path, (3, 4))
    with pytest.raises(kvorum.KvorumError, match=r"members 3 to 4 are begun .* go on with --members-per-worker 3, or"):
        refuse_other_groups(run, grouped(range(5), 2))
    run = begun(tmp_path, (0, 1))
    with pytest.raises(kvorum.KvorumError, match=rf"members 0 to 1 are begun as one group; remove {tmp_path}/groups"):
        refuse_other_groups(run, grouped(range(5), 3))


def test_the_groups_that_were_written_down_are_gone_on_with_whichever_of_them_is_begun(tmp_path: Path) -> None:
    run = begun(tmp_path, (4,))
    keep_groups(run, grouped(range(5), 4))
    assert begun_per_worker(run, range(5)) == 4
    refuse_other_groups(run, grouped(range(5), 4))
    with pytest.raises(kvorum.KvorumError, match=r"members 4 to 4 are begun .* go on with --members-per-worker 4, or"):
        refuse_other_groups(run, grouped(range(5), 3))


def test_groups_of_numbers_with_gaps_are_told_apart_by_their_members(tmp_path: Path) -> None:
    members = (0, 2, 5, 7)
    run = begun(tmp_path, (0, 5))
    keep_groups(run, grouped(members, 3))
    assert begun_per_worker(run, members) == 3
    refuse_other_groups(run, grouped(members, 3))
    with pytest.raises(kvorum.KvorumError, match="members 0 to 5 are begun"):
        refuse_other_groups(run, grouped((0, 1, 5), 3))


def test_groups_of_which_none_is_begun_bind_nobody(tmp_path: Path) -> None:
    run = begun(tmp_path)
    keep_groups(run, grouped(range(5), 4))
    assert begun_per_worker(run, range(5)) is None
    refuse_other_groups(run, grouped(range(5), 3))


def test_a_folder_of_another_name_is_no_group(tmp_path: Path) -> None:
    run = begun(tmp_path, (0, 1))
    run.write("groups/00000-00002.bak/manifest.json", b"{}")
    run.write("groups/00000-00001/deeper/manifest.json", b"{}")
    assert list(there(run)) == ["00000-00001"]
    refuse_other_groups(run, grouped(range(4), 2))


@pytest.mark.parametrize("content", [b"", b"[]", b"[[]]", b'[["a"]]', b"{", b"3"])
def test_a_damaged_list_of_groups_is_named(content: bytes, tmp_path: Path) -> None:
    run = begun(tmp_path, (0, 1))
    run.write("groups/groups.json", content)
    with pytest.raises(kvorum.KvorumError, match=r"groups/groups.json: is damaged .*; remove it"):
        refuse_other_groups(run, grouped(range(4), 2))
