"""Starting a run, or going on with the one that is there: what is other, damaged or left over."""

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kvorum.config import FitConfig
from kvorum.errors import KvorumError
from kvorum.files import TEMPORARY, remove
from kvorum.run import manifest as listed
from kvorum.run.directory import CONFIG, LOST, Run, describe
from kvorum.run.drift import differing_facts, differing_settings, differing_versions, identity
from kvorum.run.lock import HOLDER, LOCK
from kvorum.run.manifest import Manifest

log = logging.getLogger(__name__)


def start_run(
    path: str | Path,
    config: FitConfig,
    facts: Mapping[str, Any],
    *,
    repair: bool = False,
    allow_drift: bool = False,
) -> Run:
    """A new run in a directory, or the one that is there, to go on with; only for whom holds the lock.

    `repair` writes a damaged configuration again and forgets damaged files, so that they are computed again;
    `allow_drift` goes on with other settings, data or versions, and records what differs under `drift`.

    Raises `KvorumError` where the directory holds a run of other settings, data or base model, or other files, or
    damaged ones.
    """
    path = Path(path)
    run = Run(path, config, facts)
    manifest = Manifest.read(path)
    if repair and CONFIG in manifest.files and manifest.damage([CONFIG]):
        if manifest.identity != identity(config, facts):
            raise KvorumError(
                f"{path / CONFIG} is damaged, and these are not the settings, questions and base model that the run "
                "was begun with"
            )
    elif (path / CONFIG).is_file():
        _take_up(run, Run.open(path), allow_drift=allow_drift)
    elif manifest.files:
        Run.open(path)  # says that the configuration is missing
    elif path.exists() and (not path.is_dir() or any(_foreign(file.name) for file in path.iterdir())):
        raise KvorumError(f"{path} is not empty and holds no run; choose another --out")
    if damage := run.damage():
        if not repair:
            raise KvorumError(f"{path}: {describe(damage)}; --repair computes again what can be computed")
        run.forget(damage)
    run.save_config()
    _sweep(run)
    return run


def _take_up(run: Run, there: Run, *, allow_drift: bool) -> None:
    """Go on with a run that is there: keep what it has found and say what is other now."""
    if not there.manifest.files and there.unlisted():
        raise KvorumError(f"{run.path / listed.NAME}: {LOST}")
    differs = differing_settings(there.config, run.config) or differing_facts(there.facts, run.facts)
    if differs and not allow_drift:
        raise KvorumError(
            f"{run.path} holds another run: {'; '.join(differs)}. Choose another --out, or remove it; --allow-drift "
            "goes on all the same, and records it"
        )
    differs += differing_versions(there.facts, run.facts)
    run.facts |= {key: there.facts[key] for key in ("started", "drift") if key in there.facts}
    if there.facts.get("steps_per_epoch") != run.facts.get("steps_per_epoch"):
        run.drop_steps()  # what is a step of an epoch has changed
    if differs:
        after = str(there.points[-1]) if there.points else "the start"
        log.warning("%s goes on after %s although: %s", run.path, after, "; ".join(differs))
        entry = {"at": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "after": after, "differs": differs}
        run.facts["drift"] = [*run.facts.get("drift", []), entry]


def _sweep(run: Run) -> None:
    """Remove what a stop left unfinished."""
    halves = [file for kind in TEMPORARY for where in (kind, f"epochs/**/{kind}") for file in run.path.glob(where)]
    for file in [*halves, *run.unlisted()]:
        if file.suffix != ".parquet":  # whose place is taken when the task is scored
            remove(file)
    whole = {run.name_of(file) for point in run.points for file in run.files_of(point)}
    alone = [run.path / name for name in run.manifest.files if "/step-" in name and name not in whole]
    if alone:
        run.keep(drop=alone)
    for folder in run.path.glob("epochs/*/step-*"):
        if not any(folder.iterdir()):
            folder.rmdir()


def _foreign(name: str) -> bool:
    return name not in {LOCK, HOLDER, listed.NAME} and not (name.startswith(".") and name.endswith(".tmp"))
