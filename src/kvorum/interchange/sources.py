"""Where adapters lie: folders here, or repositories on the hub; each one adapter, or an ensemble of member-00, ..."""

import dataclasses
import itertools
import re
from collections.abc import Sequence
from pathlib import Path

from kvorum.config import AT_MOST
from kvorum.errors import KvorumError
from kvorum.interchange import adapter_config, ensemble
from kvorum.interchange.ensemble import HUB_ID, Ensemble

WEIGHTS = "adapter_model.safetensors"
MEMBER = re.compile(r"member-[0-9]{2,6}")
READ = [adapter_config.NAME, WEIGHTS, ensemble.NAME, f"member-*/{adapter_config.NAME}", f"member-*/{WEIGHTS}"]
"""What is fetched of a repository."""
MOST = int(AT_MOST["members"])


@dataclasses.dataclass(frozen=True)
class Source:
    """One adapter: where it lies, and what errors call it."""

    folder: Path
    name: str
    ensemble: Ensemble | None = None
    """Of the ensemble that it lies in."""


def member_name(number: int) -> str:
    """The folder of a member."""
    return f"member-{number:02d}"


def find_sources(adapters: str | Path | Sequence[str | Path | Source]) -> list[Source]:
    """Every adapter that paths of folders, and ids of repositories on the hub (`NAME` or `NAME@REVISION`), stand for;
    one that was found before stands for itself.

    Raises `KvorumError` for what is neither, and for a folder without adapters.
    """
    entries = [adapters] if isinstance(adapters, str | Path) else list(adapters)
    found = [source for entry in entries for source in _adapters_of(entry)]
    if not found:
        raise KvorumError("no adapters are named; give folders of PEFT adapters, or ids on the hub")
    if len(found) > MOST:
        raise KvorumError(f"{len(found)} adapters are named; an ensemble has at most {MOST:,}")
    return found


def _adapters_of(entry: str | Path | Source) -> list[Source]:
    if isinstance(entry, Source):
        return [entry]
    folder, name = Path(entry), str(entry)
    if not folder.is_dir():
        if folder.is_file() or not isinstance(entry, str) or not HUB_ID.fullmatch(entry.partition("@")[0]):
            raise KvorumError(f"'{name[:200]}' is no folder here, and no id on the hub such as user/name")
        folder = _fetched(entry)
        name = f"{entry.partition('@')[0]}@{folder.name}"
    if (folder / adapter_config.NAME).is_file():
        return [Source(folder, name)]
    inside = sorted(
        itertools.islice((child for child in folder.iterdir() if MEMBER.fullmatch(child.name)), MOST + 1),
        key=lambda child: int(child.name.partition("-")[2]),
    )
    if not inside:
        raise KvorumError(
            f"{name}: holds no PEFT adapter ({adapter_config.NAME}), and no folders member-00, member-01, ..."
        )
    said = Ensemble.read(folder, name)
    return [Source(child, f"{name}/{child.name}", said) for child in inside]


def _fetched(entry: str) -> Path:
    """The adapters of a repository, in the hub's cache; the folder is named by the commit."""
    from huggingface_hub import snapshot_download

    from kvorum.interchange.hub_errors import hub_errors

    name, _, revision = entry.partition("@")
    with hub_errors(f"adapters '{entry}' are in no folder here, and could not be fetched from the hub"):
        return Path(snapshot_download(name, revision=revision or None, allow_patterns=READ))
