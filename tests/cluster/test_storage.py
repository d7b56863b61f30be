"""Storage by a path and by URLs: a local folder, fsspec's memory, and S3 as moto's server on this machine answers.

Google's `gs://` has no such stand-in here: of it only the refusals are tried.
"""

import pickle
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest
from pyarrow import fs

import kvorum
from kvorum.cluster.storage import Storage

NAMES = ["a", "b c/dé.txt", "b c/e/ж + 100%.parquet"]


@pytest.fixture(params=["path", "file", "memory", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    if request.param == "path":
        yield Storage(str(tmp_path / "runs ж" / "x"))
    elif request.param == "file":
        yield Storage(f"file://{tmp_path}/runs%20ж/x y")
    elif request.param == "memory":
        pytest.importorskip("fsspec")
        yield (made := Storage("memory://runs ж/x"))
        made.remove_all()
    else:
        yield (made := Storage(f"s3://bucket/runs ж/x y{request.getfixturevalue('s3')}"))
        made.remove_all()


def test_what_is_written_is_read_listed_fetched_and_removed(storage: Storage, tmp_path: Path) -> None:
    assert storage.names() == [] and storage.read("a") is None
    for name in NAMES:
        storage.write(name, b"old")
        storage.write(name, name.encode())
    assert storage.names() == sorted(NAMES)
    assert [storage.read(name) for name in NAMES] == [name.encode() for name in NAMES]
    inner = storage.within("b c")
    assert inner.names() == sorted(name[4:] for name in NAMES[1:]) and inner.within("e").name == "e"
    assert inner.read("dé.txt") == NAMES[1].encode()
    inner.fetch("dé.txt", tmp_path / "new" / "here")
    assert (tmp_path / "new" / "here").read_bytes() == NAMES[1].encode()
    with pytest.raises(FileNotFoundError):
        storage.fetch("none", tmp_path / "none")
    assert not (tmp_path / "none").exists()
    storage.remove("a")
    storage.remove("a")
    assert storage.read("a") is None and len(storage.names()) == 2
    inner.remove_all()
    inner.remove_all()
    assert storage.names() == []
    storage.refuse_unwritable()
    assert storage.names() == []


def test_a_file_is_sent_whole_or_its_first_bytes(storage: Storage, tmp_path: Path) -> None:
    file, content = tmp_path / "big", bytes(range(256)) * 40_000  # more than one piece
    file.write_bytes(content)
    storage.send(file, "whole/big")
    assert storage.read("whole/big") == content
    storage.send(file, "whole/big", 5_000_001)
    assert storage.read("whole/big") == content[:5_000_001]
    storage.send(file, "whole/big", 0)
    assert storage.read("whole/big") == b""


def test_it_goes_to_another_process(storage: Storage) -> None:
    storage.write("a", b"1")
    again = pickle.loads(pickle.dumps(storage))  # noqa: S301 - as Ray does it
    assert again == storage and str(again) == str(storage)
    if not storage.url.startswith("memory"):
        assert again.read("a") == b"1"


def test_only_a_folder_of_this_machine_has_a_path(tmp_path: Path, s3: str) -> None:
    assert Storage(str(tmp_path)).within("a b").path == tmp_path / "a b"
    assert Storage(f"file://{tmp_path}/a b/ж").path == tmp_path / "a b" / "ж"
    assert Storage(f"file://{tmp_path}/a%20b").path == tmp_path / "a b"
    assert Storage("what?/x").path == Path("what?/x").absolute()
    assert Storage(f"s3://bucket/x{s3}").path is None and Storage("memory://x").path is None


@pytest.mark.parametrize("kind", ["path", "file"])
def test_a_write_that_fails_leaves_the_old_file(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = Storage(str(tmp_path) if kind == "path" else f"file://{tmp_path}")
    storage.write("a", b"old")
    (tmp_path / "new").write_bytes(b"new")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("kvorum.files.os.replace", full)
    with pytest.raises(OSError, match="No space"):
        storage.write("a", b"new")
    with pytest.raises(OSError, match="No space"):
        storage.send(tmp_path / "new", "a")
    with pytest.raises(OSError, match="No space"):
        storage.fetch("new", tmp_path / "a")
    assert storage.read("a") == b"old" and storage.names() == ["a", "new"]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("s3://bucket/runs/x?secret_key=HUSH", "s3://bucket/runs/x"),
        ("s3://AKIA:HUSH@bucket/runs/x/", "s3://bucket/runs/x"),
        ("gs://bucket/x?access_token=HUSH&expiration=1", "gs://bucket/x"),
        ("/runs/what?/x@y", "/runs/what?/x@y"),
        ("/runs/x/", "/runs/x"),
    ],
)
def test_no_key_is_shown(url: str, shown: str) -> None:
    assert str(Storage(url)) == shown
    assert str(Storage(url).within("groups").within("a b")) == f"{shown}/groups/a b"
    assert Storage(url).name == shown.rpartition("/")[2]


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("nope://bucket/x?secret=HUSH", "neither pyarrow nor fsspec"),
        ("nope://HUSH@bucket/x", "neither pyarrow nor fsspec"),
        ("s3://bucket/x?bogus=HUSH", "Unexpected query parameter in S3 URI: 'bogus'"),
        ("gs://bucket/x?bogus=HUSH", "Unexpected query parameter in GCS URI: 'bogus'"),
        ("s3:///x?secret=HUSH", "Missing bucket name"),
        ("://x?HUSH", "Cannot parse URI"),
        ("file://host/x?secret=HUSH", "file://host/x"),
        ("file://runs/x", "runs is read as the name of a machine; write file:// and a path from the root"),
    ],
)
def test_a_url_that_names_no_storage_is_refused_without_its_keys(url: str, why: str) -> None:
    with pytest.raises(kvorum.KvorumError, match=r"give a path, or a URL such as|or the path alone") as refused:
        Storage(url).refuse_unwritable()
    said = str(refused.value)
    assert why in said and "HUSH" not in said and said.count("give a path") <= 1


def test_what_cannot_be_written_to_is_said_with_the_reason(tmp_path: Path, s3: str) -> None:
    (tmp_path / "file").write_text("in the way")
    for url in (str(tmp_path / "file" / "run"), f"file://{tmp_path}/file/run"):
        with pytest.raises(kvorum.KvorumError, match=r"file/run' cannot be written to: Not a directory"):
            Storage(url).refuse_unwritable()
    begun = time.monotonic()
    with pytest.raises(kvorum.KvorumError, match=r"'s3://nowhere/x' cannot be written to: .*NO_SUCH_BUCKET"):
        Storage(f"s3://nowhere/x{s3}").refuse_unwritable()
    with pytest.raises(kvorum.KvorumError, match=r"'gs://bucket/x' cannot be written to: "):
        # A port at which nobody listens.
        unheard = "gs://anonymous@bucket/x?endpoint_override=127.0.0.1:1&scheme=http&retry_limit_seconds=1"
        Storage(unheard).refuse_unwritable()
    assert time.monotonic() - begun < 20


@pytest.mark.parametrize("name", ["rounds/../../x", "a/./b", "/etc/x", "a//b", "", ".."])
def test_a_name_that_leads_out_of_the_folder_is_not_fetched(storage: Storage, name: str, tmp_path: Path) -> None:
    with pytest.raises(kvorum.KvorumError, match="would land outside of its folder"):
        storage.fetch(name, tmp_path / "here" / name.lstrip("/"))
    assert not (tmp_path / "here").exists()


def test_where_files_grow_as_they_are_written_the_old_one_stays_until_the_new_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("fsspec")
    storage = Storage("memory://growing/x")
    storage.write("a", b"old")
    (tmp_path / "new").write_bytes(b"new")
    seen = []

    def breaks(source: BinaryIO, target: BinaryIO, size: int | None) -> None:
        target.write(b"ne")
        seen.append(storage.read("a"))
        raise OSError(5, "the storage is gone")

    monkeypatch.setattr("kvorum.cluster.storage._copy", breaks)
    with pytest.raises(OSError, match="gone"):
        storage.send(tmp_path / "new", "a")
    assert seen == [b"old"] and storage.read("a") == b"old" and storage.names() == ["a"]
    monkeypatch.undo()
    storage.send(tmp_path / "new", "a")
    assert storage.read("a") == b"new" and storage.names() == ["a"]
    system, root = storage._found
    assert [info.path for info in system.get_file_info(fs.FileSelector(root))] == [f"{root}/a"]
    storage.remove_all()


def test_what_a_killed_process_left_half_written_is_not_listed(storage: Storage) -> None:
    storage.write("b/.a.0123456789ab.tmp", b"ha")
    storage.write("b/a", b"whole")
    assert storage.names() == ["b/a"]
