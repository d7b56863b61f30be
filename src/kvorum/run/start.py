"""Starting a run, or going on with the one that is there: what is other, damaged or left over."""

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kvorum.config import FitConfig
from kvorum.errors import KvorumError
from kvorum.facts import RunFacts, check_facts
from kvorum.files import TEMPORARY, half_written, remove
from kvorum.run import manifest as listed
from kvorum.run.directory import CONFIG, GROUPS, OWNER, Run, describe, lost
from kvorum.run.drift import differing_facts, differing_settings, differing_versions, identity
from kvorum.run.lock import HOLDER, LOCK
from kvorum.run.manifest import Damage, Manifest

log = logging.getLogger(__name__)


def start_run(
    path: str | Path,
    config: FitConfig,
    facts: Mapping[str, Any],
    *,
    repair: bool = False,
    allow_drift: bool = False,
    alone: bool = True,
) -> Run:
    """A new run in a directory, or the one that is there, to go on with; only for whom holds the lock.

    `repair` writes a damaged configuration again and forgets damaged files, so that they are computed again;
    `allow_drift` goes on with other settings, data or versions, and records what differs under `drift`.
    `alone`: whether one process fits, which can be asked for either; where several do, nobody is told to.

    Raises `KvorumError` where the directory holds a run of other settings, data or base model, or other files, or
    damaged ones.
    """
    path = Path(path)
    run = Run(path, config, facts)
    steps_differ = False
    manifest = Manifest.read(path)
    if repair and CONFIG in manifest.files and manifest.damage([CONFIG]):
        if manifest.identity != identity(config, facts):
            raise KvorumError(
                f"{path / CONFIG} is damaged, and these are not the settings, questions and base model that the run "
                "was begun with"
            )
        check_facts(RunFacts, manifest.history, f"{path / listed.NAME}, history")
        run.facts |= manifest.history
    elif (path / CONFIG).is_file():
        steps_differ = _take_up(run, Run.open(path), allow_drift=allow_drift, alone=alone)
    elif manifest.files:
        Run.open(path)  # says that the configuration is missing
    else:
        refuse_foreign(path)
    if damage := run.damage():
        if unreadable := [one for one in damage if one.unreadable]:
            raise KvorumError(f"{path}: {describe(unreadable)}; nothing is done before that can be read")
        if not repair:
            way = "--repair" if alone else "kvorum check --repair"
            raise KvorumError(f"{path}: {describe(damage)}; {way} computes again what can be computed")
        _forget(run, damage)
    run.save_config()
    # Only now is anything let go of: nothing can be refused any more.
    if steps_differ:
        run.drop_steps()
    _sweep(run)
    return run


def refuse_foreign(path: Path) -> None:
    """Raise `KvorumError` where there is no run, but something else."""
    if path.exists() and (not path.is_dir() or any(_foreign(file.name) for file in path.iterdir())):
        raise KvorumError(f"{path} is not empty and holds no run; choose another --out")


def _forget(run: Run, damage: list[Damage]) -> None:
    """Forget damaged files, and an optimizer with its adapters: what is computed again must be of one piece."""
    gone = {one.file for one in damage}
    for name in gone:
        if name.endswith("/calibration.json"):
            log.warning("%s: %s is let go of; kvorum calibrate makes it again", run.path, name)
    alone = [name.replace("adapters.", "optimizer.") for name in gone if name.endswith("/adapters.safetensors")]
    run.forget([*damage, *(Damage(name, "") for name in alone if name not in gone)])


def _take_up(run: Run, there: Run, *, allow_drift: bool, alone: bool) -> bool:
    """Go on with a run that is there: keep what it has found and say what is other now.

    Returns whether the steps of an epoch are others than before.
    """
    if not there.manifest.files and there.unlisted():
        raise KvorumError(lost(run.path))
    differs = differing_settings(there.config, run.config) or differing_facts(there.facts, run.facts)
    if differs and not allow_drift:
        raise KvorumError(
            f"{run.path} holds another run: {'; '.join(differs)}. Choose another --out, or remove it"
            + ("; --allow-drift goes on all the same, and records it" if alone else "")
        )
    rounding = differing_versions(there.facts, run.facts)
    run.facts |= there.history()
    if differs or rounding:
        after = str(there.points[-1]) if there.points else "the start"
        log.warning("%s goes on after %s although: %s", run.path, after, "; ".join([*differs, *rounding]))
        now = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        entry = {"at": now, "after": after, "differs": differs, "rounding": rounding}
        run.facts["drift"] = [*run.facts.get("drift", []), entry]
    return there.facts.get("steps_per_epoch") != run.facts.get("steps_per_epoch")


def _sweep(run: Run) -> None:
    """Remove what a stop left unfinished."""
    halves = [file for kind in TEMPORARY for where in (kind, f"epochs/**/{kind}") for file in run.path.glob(where)]
    for file in [*halves, *run.unlisted()]:
        # A place among the predictions is taken when the task is scored; what is no file is none of ours.
        if file.suffix != ".parquet" and file.is_file():
            remove(file)
    whole = {run.name_of(file) for point in run.points for file in run.files_of(point)}
    alone = [run.path / name for name in run.manifest.files if "/step-" in name and name not in whole]
    if alone:
        run.keep(drop=alone)
    for folder in run.path.glob("epochs/*/step-*"):
        if not any(folder.iterdir()):
            folder.rmdir()


def _foreign(name: str) -> bool:
    return name not in {LOCK, HOLDER, listed.NAME, GROUPS, OWNER} and not half_written(name)
