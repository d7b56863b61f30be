"""The runs of a study spread over workers: the groups of all runs together, each run joined as soon as its are done."""

import contextlib
import dataclasses
import itertools
import logging
from collections.abc import Callable, Sequence
from typing import Any

from kvorum.cluster.dispatch import reasons
from kvorum.cluster.fit import Asked, Runner, ask, begun, parts_of
from kvorum.cluster.part import Part
from kvorum.cluster.storage import Storage, is_url
from kvorum.cluster.whole import Whole, whole_run
from kvorum.errors import KvorumError
from kvorum.run import Run
from kvorum.study import Study

Failed = dict[str, list[tuple[str, str]]]
"""By the runs that failed, which groups did, and why."""

log = logging.getLogger(__name__)


@dataclasses.dataclass
class _Fit:
    """A run that is under way."""

    name: str
    asked: Asked
    whole: Whole
    groups: list[tuple[int, ...]]
    left: set[str]
    """The groups that are not done, by what they are called among all."""


def fit_study(
    study: Study, runner: Runner, *, per_worker: int | None = None, told: Callable[[str], None] = log.info
) -> dict[str, Run]:
    """Every run of a study, fitted and scored in groups of so many members, by default all; what is done is left.

    Runs that start from another run of the study wait for it; all others are under way together.

    Raises `KvorumError` before anything is computed for whatever cannot be fitted, and for runs of which a group
    failed, once the others are done; what is done is kept, and the same again fits what is left.
    """
    refuse_unspread(study)
    left: list[str] = []
    for name in study.fits:
        if study.done(name) is None:
            left.append(name)
        else:
            told(f"{name}: done already, in {study.path / name}")
    failed: Failed = {}
    while left:
        starts = {name: study.start_of(name) for name in left}
        now = [name for name in left if starts[name] not in left]
        if not now:
            raise KvorumError(f"{study.where}: {', '.join(left)} start from each other, so that none can begin")
        lost = [name for name in now if starts[name] in failed]
        failed |= {name: [(name, f"{starts[name]}, which it starts from, is not done")] for name in lost}
        ready = [name for name in now if name not in lost]
        failed |= _fit_together(study, ready, runner, per_worker=per_worker, told=told)
        left = [name for name in left if name not in now]
    if failed:
        why = reasons(itertools.chain.from_iterable(failed.values()))
        raise KvorumError(
            f"{len(failed)} of {len(study.fits)} runs are not done, the others are kept in {study.path}: {why}; once "
            "that is mended, the same command fits what is left"
        )
    return {name: Run.open(study.path / name) for name in study.fits}


def refuse_unspread(study: Study) -> None:
    """Raise `KvorumError` for a study at a URL, and for one whose questions cannot be read or its runs compared."""
    if is_url(study.config.out):
        raise KvorumError(
            f"{study.where}: out is '{Storage(study.config.out)}'; a study that is spread over machines lies in a "
            "folder that all of them share, not at a URL"
        )
    _ = study.questions


def _fit_together(
    study: Study, names: Sequence[str], runner: Runner, *, per_worker: int | None, told: Callable[[str], None]
) -> Failed:
    """Fit runs, all their groups together."""
    failed: Failed = {}
    if not names:
        return failed
    asked = {name: ask(study.fits[name]) for name in names}
    with contextlib.ExitStack() as stack:
        parts: dict[str, Part] = {}
        whose: dict[str, _Fit] = {}
        for name in names:
            whole = stack.enter_context(whole_run(asked[name].out))
            groups = begun(asked[name], whole, per_worker=per_worker)
            own = {f"{name}: {group}": part for group, part in parts_of(asked[name], whole, groups).items()}
            fit = _Fit(name, asked[name], whole, groups, set(own))
            parts |= own
            whose |= dict.fromkeys(own, fit)
        number = {name: place for place, name in enumerate(study.fits, start=1)}
        for name in names:
            told(f"run {number[name]} of {len(number)}, {name}: into {study.path / name}")

        def ended(work: str, result: Any) -> None:
            fit = whose[work]
            fit.left.remove(work)
            if fit.left:
                return
            try:
                fit.whole.join(fit.asked.config, fit.groups, fit.asked.tasks)
            except (KvorumError, OSError) as error:
                failed[fit.name] = [(fit.name, str(error))]
            else:
                told(f"{fit.name}: done, in {study.path / fit.name}")

        for work, why in runner(parts, ended).items():
            failed.setdefault(whose[work].name, []).append((work, why))
    return failed
