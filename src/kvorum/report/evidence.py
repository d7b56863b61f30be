"""What verdicts rest on: numbers of a run compared between epochs and between tasks, with their intervals."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float64

from kvorum.report.analysis import Analysis, Studied
from kvorum.report.evaluations import Evaluation
from kvorum.uncertainty.bootstrap import LEVEL, Interval, bootstrap, resampled_means
from kvorum.uncertainty.plane import QUADRANTS
from kvorum.uncertainty.scores import nll

LEAST = 20
"""Right and wrong answers below which they are not told apart: resamples know nothing of what was not seen."""


def information_ratios(inside: Studied, other: Studied) -> dict[str, Interval]:
    """Mean MI of wrong answers over that of right ones, in domain (`inside`) and on another task (`other`), and their
    `difference`, inside minus other; each task resampled for itself."""
    size = len(inside.evaluation.predictions)

    def statistics(counts: Float64[np.ndarray, "resample example"]) -> Mapping[str, Float64[np.ndarray, "resample"]]:
        one, two = _information_ratio(inside, counts[:, :size]), _information_ratio(other, counts[:, size:])
        return {"inside": one, "other": two, "difference": one - two}

    return bootstrap(statistics, [size, len(other.evaluation.predictions)])


def rise_in_nll(before: Evaluation, after: Evaluation) -> dict[str, Interval]:
    """Of a member `alone`, on average, and of all `together`, between two epochs, and by how much `less` the latter."""
    each = []
    for of in (before.predictions, after.predictions):
        known = of.labelled
        alone = nll(of.probs[:, known], of.answers[known]).mean(axis=0)
        each.append(np.stack([alone, nll(of.mean[known], of.answers[known])], axis=1))
    rises = each[1] - each[0]

    def statistics(counts: Float64[np.ndarray, "resample example"]) -> Mapping[str, Float64[np.ndarray, "resample"]]:
        alone, together = resampled_means(rises, counts).T
        return {"alone": alone, "together": together, "less": alone - together}

    return bootstrap(statistics, [len(rises)])


def changes_of_shares(inside: Sequence[Studied], other: Sequence[Studied]) -> dict[str, Interval]:
    """By how much more each quadrant's share changes between two epochs in domain than on another task."""
    moves = []
    for pair in (inside, other):
        first, last = (one.quadrant[:, None] == np.arange(len(QUADRANTS)) for one in pair)
        moves.append(last.astype(np.float64) - first)
    size = len(moves[0])

    def statistics(counts: Float64[np.ndarray, "resample example"]) -> Mapping[str, Float64[np.ndarray, "resample"]]:
        more = resampled_means(moves[0], counts[:, :size]) - resampled_means(moves[1], counts[:, size:])
        return {name: more[:, place] for place, name in enumerate(QUADRANTS)}

    # Bonferroni: three chances to be wrong, and together no more than one interval has.
    return bootstrap(statistics, [size, len(moves[1])], level=1 - (1 - LEVEL) / len(QUADRANTS))


def best_alone(analysis: Analysis) -> int:
    """The fitted epoch at which members, each alone, have the least NLL on average."""
    alone = {of.epoch: of.numbers["member_average"]["nll"]["value"] for of in analysis.comparable}
    known = {epoch: value for epoch, value in alone.items() if value is not None}
    return min(known, key=lambda epoch: known[epoch])


def comparable(analysis: Analysis, epoch: int) -> Evaluation:
    """The first task at an epoch that compares."""
    return next(of for of in analysis.comparable if of.epoch == epoch)


def at_the_end(analysis: Analysis) -> list[Studied]:
    """Every task that is scored at the first one's last epoch, then."""
    last = analysis.tasks[0][-1].epoch
    return [one for task in analysis.tasks for one in task if one.epoch == last]


def with_right_and_wrong(those: Sequence[Studied]) -> tuple[list[Studied], list[str]]:
    """Those with at least `LEAST` right and as many wrong answers, and in words what the others lack."""
    tested, left_out = [], []
    for one in those:
        right, wrong = int(one.evaluation.correct.sum()), int(one.evaluation.wrong.sum())
        if min(right, wrong) >= LEAST:
            tested.append(one)
        else:
            left_out.append(f"{one.task} not testable with {right} right and {wrong} wrong answers")
    return tested, left_out


def _information_ratio(
    one: Studied, counts: Float64[np.ndarray, "resample example"]
) -> Float64[np.ndarray, "resample"]:
    information = one.evaluation.predictions.mutual_information[:, None]
    wrong, right = (
        resampled_means(information[rows], counts[:, rows])[:, 0]
        for rows in (one.evaluation.wrong, one.evaluation.correct)
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(right > 0, wrong / right, np.nan)
