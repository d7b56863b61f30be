"""The list of a run's files with their checksums: a file counts from the moment it is listed."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from kvorum.bounded import read_bounded
from kvorum.errors import KvorumError
from kvorum.files import atomic, sha256

NAME = "manifest.json"
FORMAT = "kvorum manifest 1"

# A list that somebody else wrote names nothing outside of its run directory.
LISTED = re.compile(
    r"config\.yaml|log\.jsonl"
    r"|epochs/[0-9]{3,6}/(step-[0-9]{5,9}/)?(adapters|optimizer)\.safetensors"
    r"|epochs/[0-9]{3,6}/calibration\.json"
    r"|epochs/[0-9]{3,6}/predictions/[^/\\\x00-\x1f\x7f-\x9f\ud800-\udfff]+\.parquet"
)
LARGEST = 64 * 2**20
"""Bytes of a manifest."""
DIGEST = re.compile(r"[0-9a-f]{64}")


class DamagedManifest(KvorumError):
    """A manifest that is not what was written."""


class OtherFormat(KvorumError):
    """A manifest of another version of kvorum."""


@dataclasses.dataclass(frozen=True)
class Seal:
    """What a file was when it was written. A log may have grown since: its seal is of its first bytes."""

    bytes: int
    sha256: str

    @classmethod
    def of(cls, file: Path) -> "Seal":
        """The seal of a file as it is."""
        return cls(file.stat().st_size, sha256(file))


@dataclasses.dataclass(frozen=True)
class Damage:
    """A file of a run that is not as it was written."""

    file: str
    """Its path within the run directory."""
    why: str
    unreadable: bool = False
    """Whether the system refuses to read it, so that it may be whole."""

    def __str__(self) -> str:
        return f"{self.file} {self.why}"


@dataclasses.dataclass
class Manifest:
    """The files of a run and their seals, and which settings and data they come from."""

    folder: Path
    files: dict[str, Seal] = dataclasses.field(default_factory=dict)
    identity: str = ""
    """A digest of the settings, questions and base model."""
    history: dict[str, Any] = dataclasses.field(default_factory=dict)
    """When the run was begun, and what was other when it was gone on with."""

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """The manifest of a run directory; an empty one where there is none.

        Raises `KvorumError` for one that is damaged.
        """
        file = folder / NAME
        try:
            text = read_bounded(file, LARGEST).decode()
        except FileNotFoundError:
            return cls(folder)
        except (OSError, UnicodeDecodeError) as error:
            raise KvorumError(f"{file}: cannot be read ({error})") from None
        try:
            content = json.loads(text)
            if content["format"] != FORMAT:
                raise OtherFormat(f"{file}: is '{str(content['format'])[:60]}', and this kvorum knows '{FORMAT}'")
            if content.pop("sha256") != content_digest(content):
                raise KvorumError("its own checksum is another")
            seals = {name: Seal(seal["bytes"], str(seal["sha256"])) for name, seal in content["files"].items()}
            for name, seal in seals.items():
                sized = type(seal.bytes) is int and 0 <= seal.bytes < 2**50
                if not LISTED.fullmatch(name) or not DIGEST.fullmatch(seal.sha256) or not sized:
                    raise KvorumError(f"'{name}' is no file of a run directory")
            return cls(folder, seals, str(content["identity"]), dict(content["history"]))
        except OtherFormat:
            raise
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise DamagedManifest(
                f"{file}: is damaged ({error}), so nothing vouches for the run's files; "
                f"kvorum check {folder} --repair makes it again of the files as they are"
            ) from None

    def write(self) -> None:
        """Replace the manifest on the disk with this one."""
        content: dict[str, Any] = {
            "format": FORMAT,
            "identity": self.identity,
            "history": self.history,
            "files": {name: dataclasses.asdict(self.files[name]) for name in sorted(self.files)},
        }
        with atomic(self.folder / NAME) as temporary:
            temporary.write_text(
                json.dumps(content | {"sha256": content_digest(content)}, indent=1) + "\n", encoding="utf-8"
            )

    def damage(self, names: Iterable[str] | None = None, *, most: int | None = None) -> list[Damage]:
        """Which of the files, or of those named, are missing or changed.

        All are looked at for their sizes; contents are read as long as they are `most` bytes together, if
        given.
        """
        found, left = [], float("inf") if most is None else most
        for name in sorted(self.files if names is None else names):
            seal = self.files[name]
            left -= seal.bytes
            try:
                why = self._why(name, seal, contents=left >= 0)
            except OSError as error:
                found.append(Damage(name, f"cannot be read ({error.strerror or error})", unreadable=True))
            else:
                found += [] if why is None else [Damage(name, why)]
        return found

    def _why(self, name: str, seal: Seal, *, contents: bool) -> str | None:
        file = self.folder / name
        grows = name == "log.jsonl"
        try:
            size = file.stat().st_size
            if size < seal.bytes or (size > seal.bytes and not grows):
                return f"is {size} bytes long, {seal.bytes} were written"
            if contents and sha256(file, seal.bytes) != seal.sha256:
                return "is not what was written (its SHA-256 is another)"
        except FileNotFoundError:
            return "is missing"
        return None


def content_digest(content: dict[str, Any]) -> str:
    """The SHA-256 of what a JSON file of ours holds, its own checksum apart."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
