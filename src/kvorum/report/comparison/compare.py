"""Runs side by side on the same questions: each one's numbers, and how far they lie from the first one's."""

import dataclasses
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kvorum.errors import KvorumError
from kvorum.report.comparison.compared_run import ComparedRun
from kvorum.report.comparison.same_questions import matching
from kvorum.report.comparison.settings import Setting, differing_settings
from kvorum.run import Run
from kvorum.uncertainty import Interval
from kvorum.uncertainty.paired import paired_differences

METRICS = (
    "accuracy",
    "nll",
    "brier",
    "ece",
    "predictive_entropy",
    "mutual_information",
    "wrong_auroc.predictive_entropy",
    "wrong_auroc.mutual_information",
)
"""What is compared, under the names of `uncertainty.paired.DIFFERENCES`."""
BEST, LAST = "best", "last"


@dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    """What the comparison says of a run as a whole."""

    name: str
    path: str
    members: int
    """How many are compared, counting those that diverged on the way."""
    best: int | None
    """The epoch of best NLL in domain, of the members compared."""
    last: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """A run on a task at an epoch."""

    epoch: int
    members: int
    numbers: dict[str, Interval]
    """Of each of `METRICS`, and of `members_nll`, the NLL that its members have on average, each alone."""
    difference: dict[str, Interval] | None
    """To the baseline, of each of `METRICS`, over the same questions; None for the baseline itself."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """All runs on a task at one epoch, or each at its best or at its last."""

    at: str
    """An epoch's number, `best` or `last`."""
    standings: tuple[Standing, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparedTask:
    """A task that all runs have answered, on the same questions."""

    task: str
    in_domain: tuple[bool, ...]
    """Whether it is the one that each run was fitted on."""
    questions: int
    labelled: int
    moments: tuple[Moment, ...]
    others: tuple[tuple[Standing, ...], ...]
    """Of each run, its epochs that not all have scored; there is nothing to compare them with."""

    def curve(self, place: int) -> list[Standing]:
        """A run at all its epochs, ascending."""
        of = [*(moment.standings[place] for moment in self.epochs), *self.others[place]]
        return sorted(of, key=lambda standing: standing.epoch)

    @property
    def epochs(self) -> list[Moment]:
        """The epochs that all runs have scored, ascending."""
        return [moment for moment in self.moments if moment.at not in (BEST, LAST)]

    @property
    def ends(self) -> list[Moment]:
        """Each run at its best and at its last epoch."""
        return [moment for moment in self.moments if moment.at in (BEST, LAST)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """What `compare` found: plain values."""

    runs: tuple[Side, ...]
    """The baseline first."""
    members: int | None
    """How many members of each run are compared, where that was asked for."""
    settings: tuple[Setting, ...]
    """In which the runs differ."""
    tasks: tuple[ComparedTask, ...]
    notes: tuple[str, ...]
    """What a reader must know: what is left out, and what else differs."""

    @property
    def names(self) -> tuple[str, ...]:
        """The runs' names, the baseline first."""
        return tuple(run.name for run in self.runs)

    def as_dict(self) -> dict[str, Any]:
        """Everything, as values that JSON holds."""
        return json.loads(json.dumps(dataclasses.asdict(self), allow_nan=False))


def compare(runs: Sequence[Run], *, members: int | None = None, names: Sequence[str] | None = None) -> Comparison:
    """Set runs side by side on the questions that all of them answered; the first is the baseline.

    A difference is a run's number minus the baseline's, with a 95% interval of the bootstrap that resamples the same
    questions for both. `members` keeps the first of each run, so that runs of different sizes compare.

    Raises `KvorumError` for runs that did not answer the same questions, and says which, where and why.
    """
    _refuse_too_few(runs)
    sides = [
        ComparedRun(run, name, members)
        for run, name in zip(runs, _names(runs) if names is None else names, strict=True)
    ]
    if len({side.name for side in sides}) < len(sides):
        raise KvorumError(f"the names {', '.join(side.name for side in sides)} are not all different")
    common = [task for task in sides[0].tasks if all(task in side.tasks for side in sides)]
    if not common:
        scored = "; ".join(f"{side.run.path} has {', '.join(side.tasks)}" for side in sides)
        raise KvorumError(f"no task is scored in all runs: {scored}. 'kvorum evaluate' scores a run on more tasks")
    return Comparison(
        runs=tuple(
            Side(name=side.name, path=str(side.run.path), members=side.size, best=side.best, last=side.last)
            for side in sides
        ),
        members=members,
        settings=differing_settings(runs),
        tasks=tuple(_task(task, sides) for task in common),
        notes=(*_notes_on_members(sides, members), *_notes_on_formats(runs), *_notes_on_tasks(sides, common)),
    )


def members_to_compare(runs: Sequence[Run]) -> int | None:
    """As many as the smallest run has throughout, so that none is better for having more; None where that is all."""
    sizes = {run.config.members for run in runs}
    throughout = {len(ComparedRun(run, "").throughout) for run in runs}
    return None if len(sizes | throughout) == 1 else min(throughout)


def _task(task: str, sides: Sequence[ComparedRun]) -> ComparedTask:
    known: dict[tuple[int, int, int], Standing] = {}

    def standing(place: int, epoch: int, baseline: int) -> Standing:
        # A run's best or last epoch is often one of those compared anyway.
        if (found := known.get((place, epoch, baseline))) is None:
            found = known[place, epoch, baseline] = _standing(task, sides, place, epoch, baseline)
        return found

    first = sides[0]
    shared = sorted(set.intersection(*(set(side.epochs(task)) for side in sides)))
    wanted: list[tuple[str, list[int | None]]] = [(str(epoch), [epoch] * len(sides)) for epoch in shared]
    wanted += [(BEST, [side.best for side in sides]), (LAST, [side.last for side in sides])]
    moments = []
    for at, epochs in wanted:
        scored = [epoch for side, epoch in zip(sides, epochs, strict=True) if epoch in side.epochs(task)]
        if len(scored) == len(sides):
            of = tuple(standing(place, epoch, scored[0]) for place, epoch in enumerate(scored) if epoch is not None)
            moments.append(Moment(at=at, standings=of))
    numbers = first.numbers(task, first.epochs(task)[-1])
    return ComparedTask(
        task=task,
        in_domain=tuple(side.fitted_on(task) for side in sides),
        questions=numbers["questions"],
        labelled=numbers["labelled"],
        moments=tuple(moments),
        others=tuple(
            tuple(_standing_alone(side, task, epoch) for epoch in side.epochs(task) if epoch not in shared)
            for side in sides
        ),
    )


def _standing(task: str, sides: Sequence[ComparedRun], place: int, epoch: int, baseline: int) -> Standing:
    side = sides[place]
    difference = None
    if place:
        ours, theirs = sides[0].evaluation(task, baseline), side.evaluation(task, epoch)
        order = matching(ours, theirs)
        first, second = sides[0].chosen(ours), side.chosen(theirs).select(examples=order)
        found = paired_differences(first, second, first.answers)
        difference = {metric: found[metric] for metric in METRICS}
    return replace(_standing_alone(side, task, epoch), difference=difference)


def _standing_alone(side: ComparedRun, task: str, epoch: int) -> Standing:
    numbers = side.numbers(task, epoch)
    found = {metric: _number(numbers, metric) for metric in METRICS}
    found["members_nll"] = _interval(numbers["member_average"]["nll"])
    return Standing(epoch=epoch, members=numbers["members"], numbers=found, difference=None)


def _number(numbers: dict[str, Any], metric: str) -> Interval:
    kind, _, of = metric.partition(".")
    if of:
        return _interval(numbers[kind][of])
    return _interval(numbers["ensemble"][metric] if metric in numbers["ensemble"] else numbers[metric]["all"]["mean"])


def _interval(of: dict[str, Any]) -> Interval:
    return Interval(value=of["value"], low=of["low"], high=of["high"])


def _refuse_too_few(runs: Sequence[Run]) -> None:
    if len(runs) < 2:
        raise KvorumError(f"a comparison needs two runs or more; given is {runs[0].path if runs else 'none'}")
    seen = set()
    for run in runs:
        if run.path.resolve() in seen:
            raise KvorumError(f"{run.path} is given twice; a comparison is of different runs")
        seen.add(run.path.resolve())


def _names(runs: Sequence[Run]) -> list[str]:
    """Of each run as much of its path's end as no other has."""
    paths = [run.path.resolve().parts for run in runs]
    found = []
    for path in paths:
        depth = 1
        while sum(other[-depth:] == path[-depth:] for other in paths) > 1:
            depth += 1
        found.append("/".join(path[-depth:]))
    return found


def _notes_on_members(sides: Sequence[ComparedRun], members: int | None) -> list[str]:
    found = []
    sizes = [side.size for side in sides]
    if members is not None:
        found.append(f"Of each run the first {members} members are compared.")
    elif len(set(sizes)) > 1:
        listed = ", ".join(f"{side.name} {side.size}" for side in sides)
        fewest = min(len(side.throughout) for side in sides)
        found.append(
            f"The runs differ in members ({listed}). Mutual information, and what an ensemble gains, grow with their "
            f"number: a difference may come from that alone. --members {fewest} compares as many of each."
        )
    for side in sides:
        for member, where in sorted(side.diverged.items()):
            found.append(f"Member {member} of {side.name} diverged by {where}, and is left out from then on.")
    return found


def _notes_on_formats(runs: Sequence[Run]) -> list[str]:
    asked = {(run.config.answer_format, run.config.normalisation) for run in runs}
    if len(asked) == 1:
        return []
    return [
        "The runs do not score choices in the same way (answer format, normalisation): NLL, calibration and entropies "
        "differ by that as well."
    ]


def _notes_on_tasks(sides: Sequence[ComparedRun], common: Sequence[str]) -> list[str]:
    found = [
        f"{side.name}: the task that it was fitted on is not scored; its best epoch is that of {side.tasks[0]}."
        for side in sides
        if not side.fitted_on(side.tasks[0])
    ]
    for task in dict.fromkeys(task for side in sides for task in side.tasks if task not in common):
        having = [side.name for side in sides if task in side.tasks]
        found.append(f"{task} is left out: only {_and(having)} scored it.")
    # Tasks share their epochs as a rule, and then a note.
    alone: dict[str, list[str]] = {}
    for task in common:
        epochs = [set(side.epochs(task)) for side in sides]
        if only := sorted(set.union(*epochs) - set.intersection(*epochs)):
            words = f"Epoch{'s' if len(only) > 1 else ''} {_and(map(str, only))}"
            alone.setdefault(words, []).append(task)
        for at in (BEST, LAST):
            if at == BEST and (unknown := [side.name for side in sides if side.best is None]):
                found.append(f"{task}: not compared at the best epochs; {_and(unknown)} has none with a known answer.")
            elif lacking := [side.name for side in sides if getattr(side, at) not in side.epochs(task)]:
                found.append(f"{task}: not compared at the {at} epochs; {_and(lacking)} did not score it there.")
        for side in sides:
            if asked := side.trained_on(task):
                found.append(
                    f"{side.name} was fitted on {asked:,} of the questions of {task}: its numbers there say how well "
                    "it remembers."
                )
    return found + [
        f"{words} of {_and(of)}: not scored in all runs, so not compared one by one." for words, of in alone.items()
    ]


def _and(words: Iterable[str]) -> str:
    *before, last = words
    return f"{', '.join(before)} and {last}" if before else last
