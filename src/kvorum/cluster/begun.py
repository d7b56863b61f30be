"""What groups were begun with, so that a fit which cannot go on from them is refused before it starts."""

import contextlib
import json
import logging
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kvorum.cluster.groups import there
from kvorum.cluster.mirror import Mirror
from kvorum.cluster.refusals import NotHere
from kvorum.cluster.storage import Storage
from kvorum.errors import KvorumError
from kvorum.run import Run
from kvorum.run.directory import CONFIG, GROUPS
from kvorum.run.drift import IDENTITY, differing_facts

FACTS = f"{GROUPS}/facts.json"
"""What all groups of a fit must find alike: the base model's revision and precision, the tokenizer, ..."""

log = logging.getLogger(__name__)


@contextlib.contextmanager
def begun_groups(run: Storage) -> Iterator[dict[str, Run]]:
    """The groups that are begun, by the names of their folders: their settings, facts and which points they hold.

    Adapters and scores are not brought here. One whose settings are damaged is left out: its worker mends it.

    Raises `KvorumError` for a list of files that is damaged.
    """
    with tempfile.TemporaryDirectory(prefix="kvorum-") as scratch:
        found = {}
        for name, place in there(run).items():
            if (group := glimpsed(place, Path(scratch) / name)) is not None:
                found[name] = group
        yield found


def glimpsed(place: Storage, folder: Path) -> Run | None:
    """A run's list of files and settings alone, brought into a folder; None where there are none that are whole."""
    manifest = Mirror(folder, place).listed()
    if CONFIG not in manifest.files:
        return None
    try:
        place.fetch(CONFIG, folder / CONFIG)
    except FileNotFoundError:
        return None
    manifest.write()
    if damage := manifest.damage([CONFIG]):
        log.warning("%s: %s", place, damage[0])
        return None
    return Run.taken_as_it_is(folder)


def fix_facts(run: Storage, facts: Mapping[str, Any] | None) -> None:
    """Say what groups must find, where that is known before any of them begins; else the first to begin says it."""
    if facts is None:
        run.remove(FACTS)
    else:
        run.write(FACTS, _shared(facts))


def refuse_other_facts(run: Storage, facts: Mapping[str, Any]) -> None:
    """Raise `NotHere` where a worker has found another base model, or other data, than the first that began.

    Two that begin at one moment may miss each other here; joining them looks again.
    """
    if run.read(FACTS) is None:
        run.write(FACTS, _shared(facts))
    content = run.read(FACTS) or b"{}"
    try:
        there = dict(json.loads(content))
    except (ValueError, TypeError, RecursionError) as error:
        raise KvorumError(f"{run}/{FACTS}: is damaged ({error}); remove it") from None
    if differs := differing_facts(there, facts):
        raise NotHere(
            f"{run} is fitted on something else by other workers: {'; '.join(differs)}. Put the same base model on "
            "every machine, or name it by --revision, and the precision by --dtype"
        )


def _shared(facts: Mapping[str, Any]) -> bytes:
    return json.dumps({name: facts.get(name) for name in IDENTITY}).encode()
