"""What Balabanov and Linander found (arXiv 2402.12264), put to the test on a run, one claim after the other.

Each verdict follows from numbers and intervals by a rule that stands in the function's docstring. An interval is over
questions: a verdict says what this run shows, not what another seed would.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float64

from kvorum.report.analysis import Analysis, Studied
from kvorum.report.tables import Cell
from kvorum.uncertainty.bootstrap import Interval, bootstrap, resampled_means
from kvorum.uncertainty.paired import paired_differences
from kvorum.uncertainty.plane import QUADRANTS
from kvorum.uncertainty.scores import nll

Verdict = Literal["seen", "partly", "not seen", "not testable"]
MOST_OF_IT = 0.8
"""The share of a gain that counts as most of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """A claim, whether the run shows it, and by which numbers."""

    claim: str
    verdict: Verdict
    evidence: str


def findings(analysis: Analysis) -> list[Finding]:
    """Every claim; empty where nothing is fitted or no answer is known."""
    if not analysis.tasks or analysis.best is None:
        return []
    return [test(analysis) for test in TESTS]


def few_members_suffice(analysis: Analysis) -> Finding:
    """Seen where a middle size keeps most of the NLL gain at the last epoch in domain, the interval above a half."""
    claim = "A few members are nearly as good as all"
    one = analysis.tasks[0][-1]
    members, middle = len(one.evaluation.members), _middle(analysis.sizes)
    if middle is None or middle >= members:
        return Finding(claim=claim, verdict="not testable", evidence=f"{members} members: there is no size between")
    row = next(row for row in one.subensembles if row["size"] == middle)
    kept = row["kept"]["nll"]
    if kept is None or kept["value"] is None:
        evidence = f"{_place(one)}: {members} members gain nothing clear in NLL over one"
        return Finding(claim=claim, verdict="not testable", evidence=evidence)
    seen = kept["value"] >= MOST_OF_IT and kept["low"] > 0.5
    return Finding(
        claim=claim,
        verdict="seen" if seen else "partly" if kept["value"] > 0.5 else "not seen",
        evidence=f"{_place(one)}: {middle} of {members} members keep {_percents(kept)} of the gain in NLL",
    )


def ensembles_overfit_later(analysis: Analysis) -> Finding:
    """Seen where the ensemble's best epoch by NLL comes after that of its members, each alone, on average, and between
    the two a member alone loses, beyond the interval; partly where it loses within it."""
    claim = "Ensembles overfit later than single members"
    if found := _no_overfitting(analysis, claim):
        return found
    task, together = analysis.tasks[0], analysis.best
    alone = _best_alone(task)
    evidence = f"{task[0].task}: best NLL at epoch {together} together, at epoch {alone} alone"
    if together is None or together <= alone:
        return Finding(claim=claim, verdict="not seen", evidence=evidence)
    before, after = (next(one for one in task if one.epoch == epoch) for epoch in (alone, together))
    if before.evaluation.keys != after.evaluation.keys:
        return Finding(claim=claim, verdict="partly", evidence=f"{evidence}, on other questions")
    rise = _rise_in_nll(before, after)
    words = f"from epoch {alone} to {together} NLL {_signed(rise['alone'])} alone, {_signed(rise['together'])} together"
    return Finding(claim=claim, verdict="seen" if _above(rise["alone"]) else "partly", evidence=f"{evidence}; {words}")


def ensembles_overfit_less(analysis: Analysis) -> Finding:
    """Seen where at the last epoch in domain both NLL and ECE are better than a single member's, beyond intervals."""
    claim = "Ensembles keep NLL and calibration error down in the overfitting regime"
    one = analysis.tasks[0][-1]
    if (found := _no_overfitting(analysis, claim)) or (found := _single(one, claim)):
        return found
    rows = {row["size"]: row for row in one.subensembles}
    all_of_them = max(rows)
    gains = {metric: rows[all_of_them]["gain"][metric] for metric in ("nll", "ece")}
    words = [
        f"{name} {Cell(value=rows[all_of_them][metric]['value']).text} instead of "
        f"{Cell(value=rows[1][metric]['value']).text} (gain {_between(gains[metric])})"
        for metric, name in (("nll", "NLL"), ("ece", "ECE"))
    ]
    return _by_count(claim, [_above(gain) for gain in gains.values()], f"{_place(one)}: {'; '.join(words)}")


def entropy_falls_information_rises(analysis: Analysis) -> Finding:
    """Seen where from the first fitted epoch to the last entropy falls and MI rises in domain, beyond intervals."""
    claim = "With training, entropy falls and mutual information rises"
    task = [one for one in analysis.tasks[0] if one.epoch]
    if found := _single(task[-1], claim):
        return found
    if len(task) < 2 or task[0].evaluation.keys != task[-1].evaluation.keys:
        return Finding(
            claim=claim, verdict="not testable", evidence="fewer than two fitted epochs on the same questions"
        )
    first, last = task[0].evaluation.predictions, task[-1].evaluation.predictions
    moved = paired_differences(first, last, last.answers)
    entropy, information = moved["predictive_entropy"], moved["mutual_information"]
    epochs = f"epoch {task[0].epoch} to {task[-1].epoch}"
    words = f"{task[0].task}, {epochs}: entropy {_signed(entropy)}, MI {_signed(information)}"
    return _by_count(claim, [_below(entropy), _above(information)], words)


def information_tells_wrong_answers(analysis: Analysis) -> Finding:
    """Seen where on every task, at the last epoch, MI ranks wrong answers above right ones (AUROC over .5)."""
    claim = "High mutual information marks answers that are more often wrong"
    last = [task[-1] for task in analysis.tasks]
    if found := _single(last[0], claim):
        return found
    scores = [one.evaluation.numbers["wrong_auroc"]["mutual_information"] for one in last]
    if all(score["value"] is None for score in scores):
        return Finding(claim=claim, verdict="not testable", evidence="no task has both right and wrong answers")
    words = [f"{one.task} {_between(score)}" for one, score in zip(last, scores, strict=True)]
    return _by_count(claim, [_above(score, 0.5) for score in scores], f"AUROC by MI at the end: {'; '.join(words)}")


def information_gap_is_widest_in_domain(analysis: Analysis) -> Finding:
    """Seen where the MI of wrong answers over that of right ones is larger in domain than on each other task."""
    claim = "The gap in mutual information between wrong and right answers is widest in domain"
    inside, *outside = [task[-1] for task in analysis.tasks]
    if not outside or not inside.evaluation.in_domain:
        return Finding(claim=claim, verdict="not testable", evidence="one task alone")
    if found := _single(inside, claim):
        return found
    ratios = [_compare(inside, other, _information_ratio) for other in outside]
    if any(ratio["difference"]["value"] is None for ratio in ratios):
        return Finding(claim=claim, verdict="not testable", evidence="a task has no wrong or no right answer")
    words = [f"{other.task} {_between(ratio['other'])}" for other, ratio in zip(outside, ratios, strict=True)]
    evidence = f"MI of wrong over right answers at the end: {inside.task} {_between(ratios[0]['inside'])}; "
    larger = [(ratio["difference"]["value"] or 0.0) > 0 for ratio in ratios]
    clear = [_above(ratio["difference"]) for ratio in ratios]
    verdict: Verdict = "seen" if all(clear) else "partly" if all(larger) else "not seen"
    return Finding(claim=claim, verdict=verdict, evidence=evidence + "; ".join(words))


def pictures_differ_out_of_domain(analysis: Analysis) -> Finding:
    """Seen where each other task's share of some quadrant at the last epoch differs from that in domain."""
    claim = "In domain and out of domain the pictures of entropy and mutual information evolve differently"
    inside, *outside = [task[-1] for task in analysis.tasks]
    if not outside or not inside.evaluation.in_domain:
        return Finding(claim=claim, verdict="not testable", evidence="one task alone")
    words, apart = [_shares(inside)], []
    for other in outside:
        compared = [_compare(inside, other, _share_of(place)) for place in range(len(QUADRANTS))]
        apart.append(any(_above(each["difference"]) or _below(each["difference"]) for each in compared))
        words.append(_shares(other))
    return _by_count(claim, apart, f"at the end: {'; '.join(words)}")


def torn_questions_keep_the_prior(analysis: Analysis) -> Finding:
    """Per task by `kvorum.uncertainty.retention.carried`; seen where every task that can be tested says so."""
    claim = "Questions that stay torn in the overfitting regime still carry the pre-trained answer"
    if found := _no_overfitting(analysis, claim):
        return found
    words, verdicts = [], []
    for task in analysis.tasks:
        one = task[-1]
        if one.carried is None or one.carried["verdict"] == "not testable":
            torn = one.carried["questions"]["torn"] if one.carried else 0
            words.append(f"{one.task}: {torn} torn, too few")
            continue
        same, distance = one.carried["same_answer"], one.carried["distance"]
        verdicts.append(one.carried["verdict"])
        words.append(
            f"{one.task}: members give the pre-trained answer to {_percents(same['torn'])} of "
            f"{one.carried['questions']['torn']} torn questions, {_percents(same['other'])} of others; distance from "
            f"the pre-trained distribution {_between(distance['ratio'])} of that between unrelated questions"
        )
    if not verdicts:
        return Finding(claim=claim, verdict="not testable", evidence="; ".join(words))
    every = set(verdicts)
    verdict: Verdict = verdicts[0] if len(every) == 1 else "partly"
    return Finding(claim=claim, verdict=verdict, evidence="; ".join(words))


TESTS: tuple[Callable[[Analysis], Finding], ...] = (
    few_members_suffice,
    ensembles_overfit_later,
    ensembles_overfit_less,
    entropy_falls_information_rises,
    information_tells_wrong_answers,
    information_gap_is_widest_in_domain,
    pictures_differ_out_of_domain,
    torn_questions_keep_the_prior,
)

Statistic = Callable[[Studied, Float64[np.ndarray, "resample example"]], Float64[np.ndarray, "resample"]]


def _compare(inside: Studied, other: Studied, statistic: Statistic) -> dict[str, Interval]:
    """A statistic of two tasks and its difference, inside minus other; each task resampled for itself."""
    size = len(inside.evaluation.predictions)

    def both(counts: Float64[np.ndarray, "resample example"]) -> Mapping[str, Float64[np.ndarray, "resample"]]:
        one, two = statistic(inside, counts[:, :size]), statistic(other, counts[:, size:])
        return {"inside": one, "other": two, "difference": one - two}

    return bootstrap(both, [size, len(other.evaluation.predictions)])


def _information_ratio(
    one: Studied, counts: Float64[np.ndarray, "resample example"]
) -> Float64[np.ndarray, "resample"]:
    """Mean MI of wrong answers over that of right ones."""
    information = one.evaluation.predictions.mutual_information[:, None]
    wrong, right = (
        resampled_means(information[rows], counts[:, rows])[:, 0]
        for rows in (one.evaluation.wrong, one.evaluation.correct)
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(right > 0, wrong / right, np.nan)


def _rise_in_nll(before: Studied, after: Studied) -> dict[str, Interval]:
    """Of a member alone, on average, and of all together, between two epochs on the same questions."""
    rises = []
    for whose in (lambda of: of.probs, lambda of: of.mean[None]):
        of_each = []
        for one in (before, after):
            of = one.evaluation.predictions
            of_each.append(nll(whose(of)[:, of.labelled], of.answers[of.labelled]).mean(axis=0))
        rises.append(of_each[1] - of_each[0])
    values = np.stack(rises, axis=1)

    def statistics(counts: Float64[np.ndarray, "resample example"]) -> Mapping[str, Float64[np.ndarray, "resample"]]:
        means = resampled_means(values, counts)
        return {"alone": means[:, 0], "together": means[:, 1]}

    return bootstrap(statistics, [len(values)])


def _share_of(place: int) -> Statistic:
    return lambda one, counts: resampled_means((one.quadrant == place)[:, None].astype(np.float64), counts)[:, 0]


def _middle(sizes: Sequence[int]) -> int | None:
    """Five where it is a size, as in the paper; else the smallest above one."""
    between = [size for size in sizes if size > 1]
    return 5 if 5 in between else min(between, default=None)


def _best_alone(task: Sequence[Studied]) -> int:
    """The fitted epoch at which members, each alone, have the least NLL on average."""
    alone = {one.epoch: one.evaluation.numbers["member_average"]["nll"]["value"] for one in task if one.epoch}
    known = {epoch: value for epoch, value in alone.items() if value is not None}
    return min(known, key=lambda epoch: known[epoch])


def _no_overfitting(analysis: Analysis, claim: str) -> Finding | None:
    """Overfitting begins with the members: an ensemble may still gain when each of them has begun to lose."""
    task = analysis.tasks[0]
    if _best_alone(task) != task[-1].epoch:
        return None
    evidence = f"{task[0].task}: the members' NLL has not risen again by the last epoch, so nothing is overfitted yet"
    return Finding(claim=claim, verdict="not testable", evidence=evidence)


def _single(one: Studied, claim: str) -> Finding | None:
    if len(one.evaluation.members) > 1:
        return None
    return Finding(claim=claim, verdict="not testable", evidence="one member alone")


def _by_count(claim: str, holds: Sequence[bool], evidence: str) -> Finding:
    verdict: Verdict = "seen" if all(holds) else "partly" if any(holds) else "not seen"
    return Finding(claim=claim, verdict=verdict, evidence=evidence)


def _above(interval: Mapping[str, Any], than: float = 0.0) -> bool:
    return interval["low"] is not None and interval["low"] > than


def _below(interval: Mapping[str, Any]) -> bool:
    return interval["high"] is not None and interval["high"] < 0


def _between(interval: Mapping[str, Any]) -> str:
    cell = Cell.of(interval)
    return f"{cell.text} ({cell.interval})" if cell.interval else cell.text


def _signed(interval: Mapping[str, Any]) -> str:
    if interval["value"] is None:
        return "–"
    words = f"{interval['value']:+.3f}"
    return words if interval["low"] is None else f"{words} ({interval['low']:+.3f} to {interval['high']:+.3f})"


def _percents(interval: Mapping[str, Any]) -> str:
    if interval["value"] is None:
        return "–"
    words = f"{interval['value']:.0%}"
    return words if interval["low"] is None else f"{words} ({interval['low']:.0%}–{interval['high']:.0%})"


def _place(one: Studied) -> str:
    return f"{one.task}, epoch {one.epoch}"


def _shares(one: Studied) -> str:
    words = ", ".join(f"{_percents({**one.shares[name]['share'], 'low': None})} {name}" for name in QUADRANTS)
    return f"{one.task} {words}"
