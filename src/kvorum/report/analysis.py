"""The study of a run: what its predictions say beyond scores, computed once for page, figures, terminal and JSON."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64

from kvorum.config import StudyOptions
from kvorum.decisions import Calibration
from kvorum.decisions.kept import kept_calibration
from kvorum.decisions.promises import on_halves, outcome
from kvorum.errors import KvorumError
from kvorum.report.evaluations import Evaluation, by_task, common_ground, read_evaluations
from kvorum.run import Run
from kvorum.uncertainty.detection import detection
from kvorum.uncertainty.diversity import diversity
from kvorum.uncertainty.plane import QUADRANTS, Cuts, quadrant_of, shares
from kvorum.uncertainty.retention import (
    OUTCOMES,
    UNKNOWN,
    carried,
    kl_divergence,
    movement,
    outcome_of,
    outcomes,
    total_variation,
)
from kvorum.uncertainty.selective import selective
from kvorum.uncertainty.subensembles import default_sizes, subensembles

AT_MARKS = ("selective", "detection", "decided")
"""Parts that are shown of the marked epochs only."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Change:
    """What became of each question since epoch 0, over the questions of the evaluation, in its order."""

    outcome: Int64[np.ndarray, "example"]
    """Place in `uncertainty.retention.OUTCOMES`; -1 where no answer is known, or epoch 0 was not asked."""
    kl: Float64[np.ndarray, "example"]
    """KL from the pre-trained model's distribution, in nats; nan where epoch 0 was not asked."""
    tv: Float64[np.ndarray, "example"]
    """Total variation from it."""
    same_answer: Bool[np.ndarray, "example"]
    asked: Bool[np.ndarray, "example"]
    """Whether epoch 0 was asked the question."""
    outcomes: dict[str, dict[str, Any]]
    """Of `uncertainty.retention.outcomes`."""
    movement: dict[str, dict[str, Any]]
    """Of `uncertainty.retention.movement`."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Studied:
    """A task at an epoch, studied."""

    evaluation: Evaluation
    cuts: Cuts
    sizes: tuple[int, ...]
    prior: Evaluation | None
    """The task at epoch 0."""
    inside: Evaluation | None = None
    """The task fitted on, at the same epoch; None for that task itself, and where it is not scored."""
    calibration: Calibration | None = None
    """The run's rules of decision at this epoch."""

    @property
    def task(self) -> str:
        """The task's name."""
        return self.evaluation.task

    @property
    def epoch(self) -> int:
        """The epoch."""
        return self.evaluation.epoch

    @cached_property
    def subensembles(self) -> list[dict[str, Any]]:
        """Of `uncertainty.subensembles`, a row a size."""
        predictions = self.evaluation.predictions
        return subensembles(predictions.probs, predictions.rest, predictions.answers, self.sizes)

    @cached_property
    def selective(self) -> dict[str, dict[str, Any]]:
        """Of `uncertainty.selective`: what answering only where a score of doubt is low would leave of the risk."""
        predictions = self.evaluation.predictions
        return selective(predictions.probs, predictions.rest, predictions.answers)

    @cached_property
    def detection(self) -> dict[str, dict[str, Any]] | None:
        """Of `uncertainty.detection`: how well doubt tells its questions from those in domain; None for these."""
        if self.inside is None:
            return None
        inside, other = self.inside.predictions, self.evaluation.predictions
        return detection((inside.probs, inside.rest), (other.probs, other.rest))

    @cached_property
    def decided(self) -> dict[str, Any] | None:
        """Of `decisions.promises`: what the run's rules of decision do on it; None without rules or known answers."""
        predictions = self.evaluation.predictions
        if self.calibration is None or not predictions.labelled.any():
            return None
        held_out = self.calibration.held_out(predictions)
        if held_out is not None:
            return on_halves(held_out, self.calibration) if len(held_out) > 1 else None
        if self.task == self.calibration.task:
            return None  # it has been scored on other questions since, which may be among those calibrated on
        return outcome(predictions, self.calibration)

    @cached_property
    def quadrant(self) -> Int64[np.ndarray, "example"]:
        """Place in `uncertainty.plane.QUADRANTS` of each question."""
        predictions = self.evaluation.predictions
        return quadrant_of(predictions.predictive_entropy, predictions.mutual_information, self.cuts)

    @cached_property
    def shares(self) -> dict[str, dict[str, Any]]:
        """Of `uncertainty.plane.shares`."""
        return shares(self.quadrant, self.evaluation.correct, self.evaluation.predictions.labelled)

    @cached_property
    def diversity(self) -> dict[str, Any] | None:
        """Of `uncertainty.diversity`, with members by their numbers; None for one member."""
        predictions, members = self.evaluation.predictions, self.evaluation.members
        found = diversity(predictions.probs, predictions.rest)
        if found is not None:
            found["closest"]["members"] = [members[place] for place in found["closest"]["members"]]
        return found

    @cached_property
    def change(self) -> Change | None:
        """Since epoch 0; None where the run has no predictions on any of these questions from then."""
        if self.prior is None:
            return None
        now, before = self.evaluation.predictions, self.prior.predictions
        place = _places(self.evaluation, self.prior)
        asked = place >= 0
        if not asked.any():
            return None
        rows = np.where(asked, place, 0)
        width = max(now.probs.shape[2], before.probs.shape[2])
        p, q = (_widened(mean, width) for mean in (before.mean[rows], now.mean))
        kl = np.where(asked, kl_divergence(q, now.mean_rest, p, before.mean_rest[rows]), np.nan)
        tv = np.where(asked, total_variation(q, now.mean_rest, p, before.mean_rest[rows]), np.nan)
        same = asked & (before.predicted[rows] == now.predicted)
        outcome = outcome_of(before.correct[rows], now.correct, now.labelled & asked)
        return Change(
            outcome=outcome,
            kl=kl,
            tv=tv,
            same_answer=same,
            asked=asked,
            outcomes=outcomes(outcome),
            movement=movement(self.quadrant[asked], kl[asked], tv[asked], same[asked]),
        )

    @cached_property
    def crossed(self) -> dict[str, dict[str, int]] | None:
        """How many questions of each outcome lie in each quadrant; None where nothing is known of epoch 0."""
        if self.change is None:
            return None
        found = {}
        for place, name in enumerate(OUTCOMES):
            inside = np.bincount(self.quadrant[self.change.outcome == place], minlength=len(QUADRANTS))
            found[name] = dict(zip(QUADRANTS, inside.tolist(), strict=True))
        return found

    @cached_property
    def carried(self) -> dict[str, Any] | None:
        """Of `uncertainty.retention.carried`: whether torn questions still carry the pre-trained answer."""
        if self.prior is None or self.change is None or not self.epoch:
            return None
        asked = self.change.asked
        now = self.evaluation.predictions.select(examples=asked)
        before = self.prior.predictions.select(examples=_places(self.evaluation, self.prior)[asked])
        width = max(now.probs.shape[2], before.probs.shape[2])
        return carried(
            _widened(now.probs, width),
            now.rest,
            _widened(before.mean, width),
            before.mean_rest,
            self.quadrant[asked] == 1,
            np.array([len(choices) for choices in now.choices]),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Analysis:
    """A run's study: every task at every epoch, and what they share."""

    run: Run
    tasks: list[list[Studied]]
    """Grouped by task, the one fitted on first; each by rising epoch."""
    marks: tuple[int, ...]
    """Epochs to mark, ascending."""
    comparable: list[Evaluation]
    """Of the first task, the fitted epochs that compare: `evaluations.common_ground`."""
    best: int | None
    """The one of best NLL of the ensemble in domain (of the first task, where the fitted one is not scored)."""
    last: int | None
    cuts: Cuts
    sizes: tuple[int, ...]
    trouble: tuple[str, ...] = ()
    """Calibrations that cannot be used, and why."""

    @property
    def evaluations(self) -> list[Evaluation]:
        """Every task at every epoch."""
        return [studied.evaluation for task in self.tasks for studied in task]

    def marked(self, task: Sequence[Studied]) -> list[Studied]:
        """A task at the marked epochs; at its last where it is scored at none of them."""
        return [one for one in task if one.epoch in self.marks] or [task[-1]]

    def compute(self) -> None:
        """Compute every part now, different ones side by side: numpy leaves the interpreter to others meanwhile."""
        everywhere = [one for task in self.tasks for one in task]
        at_marks = [one for task in self.tasks for one in self.marked(task)]

        def part(name: str) -> None:
            for one in at_marks if name in AT_MARKS else everywhere:
                getattr(one, name)

        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            list(pool.map(part, ("subensembles", "change", "shares", "diversity", "carried", *AT_MARKS)))

    @property
    def warnings(self) -> list[str]:
        """What a reader must know before believing anything: epochs that do not compare, members that collapsed."""
        found = [*self.trouble, *self._recalibrate(), *self._incomparable()]
        for task in self.tasks:
            last = task[-1]
            if last.epoch and last.diversity is not None and last.diversity["collapsed"]:
                found.append(
                    f"The members have collapsed on {last.task}: after epoch {last.epoch} they differ by "
                    f"{last.diversity['kl']['value']:.2g} nats (mean KL of two members), so they count as little more "
                    "than one, and mutual information says nothing. More diversity (a start, an order, a bootstrap "
                    "resample of their own), a higher learning rate or more epochs set them apart."
                )
        return found

    def _recalibrate(self) -> list[str]:
        """Where the calibration questions are no longer those that the run holds."""
        return [
            f"{one.task} holds other questions at epoch {one.epoch} than it was calibrated on; calibrate again to see "
            "what the rules do there."
            for task in self.tasks
            for one in task
            if one.calibration is not None
            and one.calibration.task == one.task
            and one.calibration.held_out(one.evaluation.predictions) is None
        ]

    def _incomparable(self) -> list[str]:
        """Where what is said of epochs against each other leaves something out."""
        if not self.comparable:
            return []
        found, task = [], self.tasks[0]
        epochs = [of.epoch for of in self.comparable]
        others = [str(one.epoch) for one in task if one.epoch and one.epoch not in epochs]
        if others:
            found.append(
                f"{task[0].task} was asked other questions at epoch {', '.join(others)} than at the others, which is "
                "left out where epochs are compared."
            )
        counted = set(self.comparable[0].members)
        gone = {member for one in task if one.epoch in epochs for member in one.evaluation.members} - counted
        if gone:
            found.append(
                f"Where epochs are compared, members that are not there at all of them do not count: "
                f"{', '.join(map(str, sorted(gone)))}."
            )
        return found


def analyse(run: Run, options: StudyOptions | None = None) -> Analysis:
    """The study of a run; each part is computed when it is first asked for.

    Raises `KvorumError` for an epoch to mark or to cut at that is not scored, and for a size above all members.
    """
    options = options or StudyOptions()
    tasks = by_task(read_evaluations(run))
    epochs = sorted({evaluation.epoch for task in tasks for evaluation in task})
    if missing := [epoch for epoch in options.mark if epoch not in epochs]:
        raise KvorumError(f"{run.path} has no scores at epoch {missing[0]}; {_scored(epochs)}")
    cut_at = [evaluation.epoch for evaluation in tasks[0]] if tasks else []
    if options.cut_epoch is not None and options.cut_epoch not in cut_at:
        task = f" of {tasks[0][0].task}" if tasks else ""
        raise KvorumError(f"{run.path} has no scores{task} at epoch {options.cut_epoch} to cut at; {_scored(cut_at)}")
    if options.sizes and max(options.sizes) > run.config.members:
        raise KvorumError(
            f"{run.path} has {run.config.members} members; there is no sub-ensemble of {max(options.sizes)}"
        )
    comparable = common_ground(tasks[0]) if tasks else []
    best = best_epoch(comparable)
    last = epochs[-1] if epochs else None
    marks = options.mark or tuple(epoch for epoch in (best, last) if epoch is not None)
    cut_epoch = best if options.cut_epoch is None else options.cut_epoch
    cuts = _cuts(tasks[0] if tasks else [], cut_epoch, options)
    sizes = tuple(sorted(set(options.sizes))) or default_sizes(run.config.members)
    inside = {of.epoch: of for of in tasks[0] if of.in_domain} if tasks else {}
    calibrations, trouble = _calibrations(run, epochs)
    return Analysis(
        run=run,
        tasks=[
            [
                Studied(
                    evaluation=evaluation,
                    cuts=cuts,
                    sizes=sizes,
                    prior=task[0] if task[0].epoch == 0 else None,
                    inside=None if evaluation.in_domain else inside.get(evaluation.epoch),
                    calibration=calibrations.get(evaluation.epoch),
                )
                for evaluation in task
            ]
            for task in tasks
        ],
        trouble=tuple(trouble),
        marks=tuple(sorted(set(marks))),
        comparable=comparable,
        best=best,
        last=last,
        cuts=cuts,
        sizes=sizes,
    )


def _calibrations(run: Run, epochs: Sequence[int]) -> tuple[dict[int, Calibration], list[str]]:
    """The rules of decision by epoch, and why some cannot be used."""
    found, trouble = {}, []
    for epoch in epochs:
        try:
            if (one := kept_calibration(run, epoch)) is not None:
                found[epoch] = one
        except KvorumError as error:
            trouble.append(f"{error}.")
    return found, trouble


def _scored(epochs: Sequence[int]) -> str:
    return f"scored are {', '.join(map(str, epochs))}" if epochs else "nothing is scored yet"


def best_epoch(task: Sequence[Evaluation]) -> int | None:
    """The fitted epoch of least NLL; None where nothing is fitted or no answer known."""
    nll = {each.epoch: each.numbers["ensemble"]["nll"]["value"] for each in task if each.epoch}
    known = {epoch: value for epoch, value in nll.items() if value is not None}
    return min(known, key=lambda epoch: known[epoch]) if known else None


def _cuts(task: Sequence[Evaluation], epoch: int | None, options: StudyOptions) -> Cuts:
    """As given; else at the medians of the first task at an epoch, at its last where there is no best."""
    cuts = {"entropy": options.entropy_cut, "mutual_information": options.mi_cut}
    origin = dict.fromkeys(cuts, "given")
    at = next((each for each in task if each.epoch == epoch), task[-1] if task else None)
    for name in [name for name, value in cuts.items() if value is None]:
        key = "predictive_entropy" if name == "entropy" else name
        cuts[name] = at.numbers[key]["all"]["median"] if at else 0.0
        origin[name] = f"the median on {at.task} at epoch {at.epoch}" if at else "nothing is scored"
    return Cuts(
        entropy=float(cuts["entropy"] or 0.0),
        mutual_information=float(cuts["mutual_information"] or 0.0),
        entropy_from=origin["entropy"],
        mutual_information_from=origin["mutual_information"],
    )


def _places(evaluation: Evaluation, prior: Evaluation) -> Int64[np.ndarray, "example"]:
    """Where each question stands at epoch 0; -1 where it was not asked then."""
    there = {key: place for place, key in enumerate(prior.keys)}
    return np.array([there.get(key, UNKNOWN) for key in evaluation.keys], dtype=np.int64)


def _widened(probs: np.ndarray, width: int) -> np.ndarray:
    """With zeros for candidates that only other questions have."""
    beyond = width - probs.shape[-1]
    return np.pad(probs, [(0, 0)] * (probs.ndim - 1) + [(0, beyond)]) if beyond else probs
