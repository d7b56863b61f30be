"""Fitting an ensemble: into a run directory or into memory, going on, and computing again what was lost."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from kvorum.config import fit_config
from kvorum.engine import BaseModel, given_base
from kvorum.errors import KvorumError
from kvorum.posterior.fitting import Fitting
from kvorum.posterior.job import Job, plan
from kvorum.posterior.posterior import Posterior
from kvorum.posterior.progress import Progress, Silent
from kvorum.posterior.saving import refuse_other_shapes
from kvorum.posterior.stop import StopRequest
from kvorum.posterior.tracked import tracked
from kvorum.run import Run, locked, relist, start_run
from kvorum.run.directory import GROUPS, LOG, describe
from kvorum.run.manifest import NAME, Manifest
from kvorum.tasks import Task

log = logging.getLogger(__name__)


def fit(
    model: str | BaseModel | tuple[PreTrainedModel, Any],
    task: str | Path | Task,
    *,
    evaluate: Sequence[str | Path | Task] = (),
    progress: Progress | None = None,
    repair: bool = False,
    allow_drift: bool = False,
    **settings: Any,
) -> Posterior:
    """Fit an ensemble of LoRA adapters to a task's training questions and return the posterior.

    `model` is a name as in `FitConfig.model`, or a transformers model with its tokenizer, which is handed back
    untouched. `settings` are those of `kvorum.config.FitConfig`. With `out`, everything is kept in a run directory, and
    the same call again goes on where it stopped; `evaluate` names tasks that are scored there after every epoch.
    Without `out`, nothing is written.

    `repair` computes again what is damaged in the run directory or missing from it; `allow_drift` goes on with other
    settings, data or versions than the run was begun with, and records what differs in its facts.

    Raises `KvorumError` for settings, tasks and models that cannot be used, before anything is computed, and `Stopped`,
    a KeyboardInterrupt, when SIGINT or SIGTERM asked for a stop and everything is saved.
    """
    base = None
    if isinstance(model, tuple):
        base = given_base(*model)
    elif isinstance(model, BaseModel):
        base = model
    config = fit_config(
        settings
        | {
            "model": base.name if base else model,
            "task": task.name if isinstance(task, Task) else str(task),
            "evaluate": tuple(one.name if isinstance(one, Task) else str(one) for one in evaluate),
        },
        where="kvorum.fit",
    )
    given = [one for one in (task, *evaluate) if isinstance(one, Task)]
    job = plan(config, base=base, given=given, kept=config.out is not None)
    if config.out is None:
        return Fitting(job, None, tracked(progress or Silent(), job, None)).run_all()
    return fit_in_run_directory(job, progress or Silent(), repair=repair, allow_drift=allow_drift)


def fit_in_run_directory(job: Job, progress: Progress, *, repair: bool = False, allow_drift: bool = False) -> Posterior:
    """Fit into `job.out`, going on from what is there.

    `repair` computes again what is damaged or missing; `allow_drift` goes on with other settings, data or versions than
    the run was begun with, and records that in its facts.

    Raises `KvorumError` where another process works on it, it is damaged, or it holds another run or an imported one,
    and `Stopped` when a signal asked for a stop and everything is saved.
    """
    with locked(job.out), StopRequest() as stop:
        _refuse_groups(job.out)
        if repair:
            relist(job.out)
        refuse_imported(job.out)
        if allow_drift:
            # What cannot be gone on with is refused before it is recorded.
            refuse_other_shapes(Run(job.out, job.config, job.facts()), job)
        run = start_run(job.out, job.config, job.facts(), repair=repair, allow_drift=allow_drift)
        if repair:
            recompute(job, run, progress, stop)
        return Fitting(job, run, tracked(progress, job, run), stop).run_all()


def repair_run_directory(job: Job, progress: Progress) -> list[tuple[str, int]]:
    """Compute again what is damaged in `job.out` or missing from it, and go no further.

    Returns the tasks and epochs whose predictions cannot be, since the job does not name those tasks.
    """
    with locked(job.out), StopRequest() as stop:
        refuse_imported(job.out)
        before = {(task, epoch) for epoch, task in Run.open(job.out).scores()}
        run = start_run(job.out, job.config, job.facts(), repair=True)
        recompute(job, run, progress, stop)
        Fitting(job, run, progress, stop).run_all(until=0)
        return sorted(before - {(task, epoch) for epoch, task in run.scores()})


def refuse_imported(path: Path) -> None:
    """Raise `KvorumError` for a run whose adapters were fitted elsewhere: no settings here lead to them."""
    if Manifest.read(path).history.get("imported"):
        raise KvorumError(
            f"{path} holds adapters that were fitted elsewhere and imported, so that it can neither be gone on with "
            "nor fitted again; choose another --out"
        )


def _refuse_groups(path: Path) -> None:
    """Raise `KvorumError` where members are under way in groups, which would later go on from where they are now."""
    if begun := sorted((path / GROUPS).glob(f"*/{NAME}")):
        raise KvorumError(
            f"{path}: {len(begun)} groups of its members are begun, the first in {begun[0].parent}; go on with "
            f"the same --ray or --members-per-worker as before, or remove {path / GROUPS}"
        )


def recompute(job: Job, run: Run, progress: Progress, stop: StopRequest) -> None:
    """Fit again, from the start, what is missing up to the newest epoch; what is there stays as it is.

    On a CPU what comes out is, bit for bit, what was lost. What a run has computed with other settings before it
    drifted cannot be: it is recorded as lost, where there is a point to go on from without it.

    Raises `KvorumError` where there is none.
    """
    gaps = run.gaps()
    if not gaps:
        return
    if any(drift["differs"] for drift in run.facts.get("drift", [])):
        if not run.points or run.points[-1] < (run.newest_epoch, 0):
            raise KvorumError(
                f"{job.out}: {describe(gaps)}; the run has gone on with other settings since, so that this cannot be "
                "computed again, and without it there is nothing to go on from; what is left can be read"
            )
        log.warning("%s: lost for good, since the run has gone on with other settings: %s", job.out, describe(gaps))
        run.facts["lost"] = [*run.facts.get("lost", []), *(gap.file for gap in gaps)]
        run.save_config()
        return
    log.info("computing again from the start: %s", describe(gaps))
    if any(gap.file == LOG for gap in gaps):
        run.drop_steps()  # whose steps would be missing from the log
    Fitting(job, run, progress, stop, again=True).run_all(until=run.newest_epoch)
