"""Where a fit is saved and goes on from: a stack with its optimizer's state, after an epoch or within one."""

import logging
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from kvorum.adapters import AdapterStack
from kvorum.adapters.tensors import load_tensors, save_tensors
from kvorum.errors import KvorumError
from kvorum.files import atomic, make_folder
from kvorum.posterior.job import Job
from kvorum.posterior.optimizer import MemberAdamW
from kvorum.run import Point, Run

OPTIMIZER = "kvorum optimizer 1"

log = logging.getLogger(__name__)


def save_point(run: Run, job: Job, point: Point, stack: AdapterStack, optimizer: MemberAdamW) -> None:
    """Save a fit at a point with its log, and let go of earlier points within epochs, and of earlier optimizers.

    The optimizer of the last whole epoch stays until the next epoch is whole, so that there are two points to go on
    from. What is there already is left as it is.
    """
    adapters, moments = run.adapters_file(*point), run.optimizer_file(*point)
    make_folder(adapters.parent)
    new: list[Path] = []
    newest = not run.points or point >= run.points[-1]
    if point != (0, 0) and newest and not run.holds(moments):
        with atomic(moments) as temporary:
            save_moments(optimizer.state(), temporary)
        new.append(moments)
    if not run.holds(adapters):
        with atomic(adapters) as temporary:
            stack.save(temporary, epoch=point.epoch, base_revision=job.base.revision, model=job.base.name)
        new.append(adapters)
    older = [other for other in run.points if newest and other < point]
    drop = [file for other in older if other.step for file in run.files_of(other)]
    drop += [run.optimizer_file(*other) for other in older if not other.step and not point.step]
    run.keep(*new, *run.flushed_log(), drop=drop)


def load_point(run: Run, job: Job, point: Point) -> tuple[AdapterStack, dict[str, Tensor] | None]:
    """The stack at a point and its optimizer's state; None at the start.

    Raises `KvorumError` for files that are damaged, or are of no such fit as is to go on.
    """
    stack, start = _load_stack(run, job, point), job.start()
    if point == (0, 0):
        return stack, None
    tensors = load_moments(run, point)
    wrong = MemberAdamW(start, clip=job.config.clip).mismatch(tensors)
    if wrong:
        raise KvorumError(f"{run.optimizer_file(*point)}: is no state of this fit's optimizer: {wrong}")
    return stack, tensors


def save_moments(state: Mapping[str, Tensor], file: Path) -> None:
    """Write the state of an optimizer."""
    save_tensors(state, file, {"format": OPTIMIZER})


def load_moments(run: Run, point: Point) -> dict[str, Tensor]:
    """The state of the optimizer at a point, as it was saved."""
    return load_tensors(run.checked(run.optimizer_file(*point)))[0]


def refuse_other_shapes(run: Run, job: Job) -> None:
    """Raise `KvorumError` if the adapters that a run holds are of another shape than a fit's."""
    for epoch in run.epochs:
        if not run.manifest.damage([run.name_of(run.adapters_file(epoch))]):
            _load_stack(run, job, Point(epoch))
            return


def difference(run: Run, epoch: int, stack: AdapterStack) -> float:
    """How far a stack that was computed again is from the one that is saved, at most; relative to its largest value."""
    saved = AdapterStack.load(run.checked(run.adapters_file(epoch)))
    pairs = list(zip(saved.parameters(), stack.parameters(), strict=True))
    largest = max(float(one.abs().max()) for one, _ in pairs)
    return max(float((one - two.detach().cpu()).abs().max()) for one, two in pairs) / max(largest, 1e-30)


def _load_stack(run: Run, job: Job, point: Point) -> AdapterStack:
    file = run.checked(run.adapters_file(*point))
    stack, start = AdapterStack.load(file), job.start()
    for name, there, wanted in (
        ("members", stack.members, start.members),
        ("rank", stack.rank, start.rank),
        ("alpha", stack.alpha, start.alpha),
        ("targets", tuple(stack.a), tuple(start.a)),
        ("shapes", _shapes(stack), _shapes(start)),
    ):
        if there != wanted:
            raise KvorumError(
                f"{file}: its {name} are {_short(there)}, to go on with are {_short(wanted)}; "
                "a fit cannot go on with adapters of another shape, drift or not"
            )
    return stack


def _shapes(stack: AdapterStack) -> list[tuple[int, ...]]:
    return [tuple(parameter.shape) for parameter in stack.parameters()]


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 80 else text[:77] + "..."
