"""A fit spread over workers: its members in groups, each group a run directory within the run, joined at the end."""

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from kvorum.cluster.begun import begun_groups, fix_facts
from kvorum.cluster.dispatch import Dispatch, Ended, Work, nothing_more, reasons
from kvorum.cluster.groups import begun_per_worker, grouped, keep_groups, refuse_other_groups, said, storage_of
from kvorum.cluster.join import refuse_apart
from kvorum.cluster.own_start import as_begun, is_here, out_here
from kvorum.cluster.part import Bases, Part, fit_part
from kvorum.cluster.ray_cluster import Cluster, ray
from kvorum.cluster.storage import Storage, shown
from kvorum.cluster.view import View
from kvorum.cluster.whole import Whole, refuse_other_run, whole_run
from kvorum.config import FitConfig
from kvorum.errors import KvorumError
from kvorum.posterior.job import Inputs, Job, out_of, plan, read_inputs
from kvorum.posterior.progress import Progress
from kvorum.posterior.stop import Stopped, StopRequest
from kvorum.run import Run
from kvorum.run.directory import GROUPS

log = logging.getLogger(__name__)


@runtime_checkable
class Runner(Protocol):
    """Fits parts, by their names, and tells of each that is done; returns why those failed that did."""

    def __call__(self, parts: Mapping[str, Part], ended: Ended = nothing_more) -> Mapping[str, str]:
        """To its end."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asked:
    """A fit that is to be spread, with what it needs read and checked on this machine."""

    config: FitConfig
    out: str
    """A path or a URL."""
    inputs: Inputs
    job: Job
    """The whole fit, without the base model's weights."""

    @property
    def members(self) -> tuple[int, ...]:
        """The members' numbers."""
        return self.inputs.members(self.config)

    @property
    def tasks(self) -> list[str]:
        """The names of the tasks that are scored."""
        return [task.name for task in self.inputs.questions.evaluation]


def ask(config: FitConfig) -> Asked:
    """Read and check all of a fit that can be without the base model's weights.

    Raises `KvorumError` for whatever cannot be fitted.
    """
    if config.track:
        raise KvorumError(
            f"track names {' '.join(config.track)}, and trackers are told by a fit in one process; leave it out, and "
            "the same fit with --track and without --ray, once it is done, tells them of all of it"
        )
    config = as_begun(config)
    with out_here(config) as here:
        inputs = read_inputs(here, kept=is_here(here))
    job = plan(config, inputs=inputs, weights=False)
    out = config.out or str(out_of(config, inputs.questions.task))
    # What is kept names the place without the keys to it.
    kept = dataclasses.replace(config, out=shown(out))
    return Asked(config=kept, out=out, inputs=inputs, job=job)


def fit_in_groups(asked: Asked, runner: Runner, *, per_worker: int | None, slots: int = 1) -> None:
    """Fit groups of members into a run, and join them; what is done is left as it is.

    `per_worker`: members in a group; by default those that were begun with, or as few as keep all `slots` busy.

    Raises `KvorumError` where the directory holds something else, and for groups that failed, once the others are done;
    they are kept, and the same again fits what is left.
    """
    with whole_run(asked.out) as whole:
        groups = begun(asked, whole, per_worker=per_worker, slots=slots)
        if not groups:
            log.info("%s is fitted to epoch %d already", whole.storage, asked.config.epochs)
            return
        failed = runner(parts_of(asked, whole, groups))
        if failed:
            raise KvorumError(
                f"{len(failed)} of {len(groups)} groups failed, the others are done and kept in {whole.storage}: "
                f"{reasons(failed.items())}; once that is mended, the same command fits what is left"
            )
        whole.join(asked.config, groups, asked.tasks)


def begun(asked: Asked, whole: Whole, *, per_worker: int | None, slots: int = 1) -> list[tuple[int, ...]]:
    """The groups that a fit is done in, each begun with what is there of it; none where all of it is done.

    Raises `KvorumError` where the directory holds something else, or other groups.
    """
    config, members, run = asked.config, asked.members, whole.run()
    if run is not None:
        refuse_other_run(run, config, asked.inputs, whole.storage)
        if asked.inputs.questions.answered(run, config.epochs):
            # They are left where joining was ended just before it removed them.
            whole.storage.within(GROUPS).remove_all()
            return []
    size = per_worker or begun_per_worker(whole.storage, members) or -(-len(members) // max(1, slots))
    groups = grouped(members, size)
    refuse_other_groups(whole.storage, groups)
    _refuse_other_begun(asked, whole.storage, run)
    keep_groups(whole.storage, groups)
    if run is not None and run.epochs:
        whole.begin_groups(run, groups)
    return groups


def _refuse_other_begun(asked: Asked, storage: Storage, run: Run | None) -> None:
    """Raise `KvorumError` where groups are begun with something else, and say what those that begin now must find."""
    with begun_groups(storage) as groups:
        for name, group in groups.items():
            refuse_other_run(group, asked.config, asked.inputs, storage.within(f"{GROUPS}/{name}"))
            if group.newest_epoch > max(asked.config.epochs, run.newest_epoch if run is not None else 0):
                raise KvorumError(
                    f"{storage}: its group {name} is fitted to epoch {group.newest_epoch} already, and the others must "
                    f"come as far; ask for --epochs {group.newest_epoch} or more, or remove {storage.within(GROUPS)}"
                )
        if groups:
            refuse_apart(list(groups.values()))
        found = run if run is not None else next(iter(groups.values()), None)
        fix_facts(storage, found.facts if found is not None else None)


def parts_of(asked: Asked, whole: Whole, groups: Sequence[Sequence[int]]) -> dict[str, Part]:
    """What is asked of the workers, by what a group is called."""
    mark = whole.mark()
    return {
        said(members): Part(
            config=asked.config,
            inputs=asked.inputs,
            members=tuple(members),
            run=whole.storage,
            storage=storage_of(whole.storage, members),
            mark=mark,
        )
        for members in groups
    }


def one_after_another(progress: Callable[[], Progress], told: Callable[[str], None] = log.info) -> Runner:
    """A runner that fits parts in this process."""

    def run(parts: Mapping[str, Part], ended: Ended = nothing_more) -> dict[str, str]:
        bases, failed = Bases(), {}
        with StopRequest() as stop:
            for number, (name, part) in enumerate(parts.items(), start=1):
                told(f"{name}: group {number} of {len(parts)}")
                try:
                    fit_part(part, bases, progress(), stop)
                except (KvorumError, OSError) as error:
                    failed[name] = str(error)
                    told(f"{name} failed: {error}")
                else:
                    ended(name, None)
                if stop.asked is not None:
                    raise Stopped(f"stopped after {name}, and everything up to there is saved", stop.asked)
        return failed

    return run


def on_ray(cluster: Cluster, view: View) -> Runner:
    """A runner that fits parts on the workers of a cluster."""

    def run(parts: Mapping[str, Part], ended: Ended = nothing_more) -> dict[str, str]:
        lent: dict[int, Any] = {}
        works = {}
        for name, part in parts.items():
            # The questions of a fit go to the cluster once, however many groups it has.
            if id(part.inputs) not in lent:
                lent[id(part.inputs)] = ray().put(part.inputs)
            works[name] = Work("fit", dataclasses.replace(part, inputs=lent[id(part.inputs)]))
        dispatch = Dispatch(cluster, works, view, ended=ended)
        dispatch.run()
        return dispatch.failed

    return run
