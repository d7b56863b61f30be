"""What Balabanov and Linander found (arXiv 2402.12264), put to the test on a run, one claim after the other.

Each verdict follows from numbers and intervals by a rule that stands in the function's docstring. An interval is over
questions: a verdict says what this run shows, not what another seed would.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from kvorum.report.analysis import Analysis, Studied
from kvorum.report.evidence import (
    at_the_end,
    best_alone,
    changes_of_shares,
    comparable,
    information_ratios,
    rise_in_nll,
    with_right_and_wrong,
)
from kvorum.report.tables import Cell
from kvorum.report.words import count
from kvorum.uncertainty.paired import paired_differences
from kvorum.uncertainty.plane import QUADRANTS

Verdict = Literal["seen", "partly", "not seen", "not testable"]
MOST_OF_IT = 0.8
"""The share of a gain that counts as most of it."""
WORTH = 1e-3
"""Nats of NLL, and of calibration error, below which nothing is kept down: any two members differ by a little."""
THE_PAPERS = 5
"""Members that the paper finds to be enough."""


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
    """Seen where the size nearest to five keeps most of the NLL gain at the last epoch in domain, the interval above a
    half; partly where it keeps more than half of it."""
    claim = "A few members are nearly as good as all"
    one = analysis.tasks[0][-1]
    if found := _single(one, claim):
        return found
    members = len(one.evaluation.members)
    sizes = [row["size"] for row in one.subensembles if 1 < row["size"] < members]
    if not sizes:
        return _untested(claim, f"{count(members, 'member')}: there is no size between one and all")
    middle = min(sizes, key=lambda size: abs(size - THE_PAPERS))
    kept = next(row for row in one.subensembles if row["size"] == middle)["kept"]["nll"]
    if kept is None or kept["value"] is None:
        return _untested(claim, f"{_place(one)}: {count(members, 'member')} gain nothing clear in NLL over one")
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
    together, alone = analysis.best, best_alone(analysis)
    evidence = f"{analysis.tasks[0][0].task}: best NLL at epoch {together} together, at epoch {alone} alone"
    if together is None or together <= alone:
        return Finding(claim=claim, verdict="not seen", evidence=evidence)
    rise = rise_in_nll(comparable(analysis, alone), comparable(analysis, together))
    words = f"from epoch {alone} to {together} NLL {_signed(rise['alone'])} alone, {_signed(rise['together'])} together"
    verdict: Verdict = "seen" if _above(rise["alone"]) else "partly"
    return Finding(claim=claim, verdict=verdict, evidence=f"{evidence}; {words}")


def ensembles_overfit_less(analysis: Analysis) -> Finding:
    """Seen where in domain, beyond intervals, a member alone loses more NLL from its best epoch to the last than all
    together, and its calibration error is larger at the last; partly where one of the two is so."""
    claim = "Ensembles keep NLL and calibration error down in the overfitting regime"
    if found := _no_overfitting(analysis, claim):
        return found
    best, last = comparable(analysis, best_alone(analysis)), analysis.comparable[-1]
    rise = rise_in_nll(best, last)
    one = next(one for one in analysis.tasks[0] if one.epoch == last.epoch)
    rows = {row["size"]: row for row in one.subensembles}
    whole = rows[max(rows)]
    ece = [Cell(value=row["ece"]["value"]).text for row in (whole, rows[1])]
    words = (
        f"{last.task}, epoch {best.epoch} to {last.epoch}: NLL {_signed(rise['alone'])} alone, "
        f"{_signed(rise['together'])} together, which is {_between(rise['less'])} less; ECE at epoch {last.epoch} "
        f"{ece[1]} alone, {ece[0]} together (gain {_between(whole['gain']['ece'])})"
    )
    return _by_count(claim, [_above(rise["less"], WORTH), _above(whole["gain"]["ece"], WORTH)], words)


def entropy_falls_information_rises(analysis: Analysis) -> Finding:
    """Seen where from the first fitted epoch to the last entropy falls and MI rises in domain, beyond intervals; partly
    where one of the two does."""
    claim = "With training, entropy falls and mutual information rises"
    if found := _single(analysis.tasks[0][-1], claim) or _one_epoch(analysis, claim):
        return found
    first, last = analysis.comparable[0], analysis.comparable[-1]
    moved = paired_differences(first.predictions, last.predictions, last.predictions.answers)
    entropy, information = moved["predictive_entropy"], moved["mutual_information"]
    words = f"{last.task}, epoch {first.epoch} to {last.epoch}: entropy {_signed(entropy)}, MI {_signed(information)}"
    return _by_count(claim, [_below(entropy), _above(information)], words)


def information_tells_wrong_answers(analysis: Analysis) -> Finding:
    """Seen where at the last epoch MI ranks wrong answers above right ones (AUROC over .5, beyond its interval) on
    every task that has enough of both; partly where on some."""
    claim = "High mutual information marks answers that are more often wrong"
    if found := _single(analysis.tasks[0][-1], claim):
        return found
    tested, left_out = with_right_and_wrong(at_the_end(analysis))
    if not tested:
        return _untested(claim, "; ".join(left_out))
    scores = [one.evaluation.numbers["wrong_auroc"]["mutual_information"] for one in tested]
    words = [f"{one.task} {_between(score)}" for one, score in zip(tested, scores, strict=True)]
    evidence = f"AUROC by MI at epoch {tested[0].epoch}: {'; '.join(words + left_out)}"
    return _by_count(claim, [_above(score, 0.5) for score in scores], evidence)


def information_gap_is_widest_in_domain(analysis: Analysis) -> Finding:
    """Seen where at the last epoch the MI of wrong answers over that of right ones is larger in domain than on each
    other task that has enough of both, beyond intervals; partly where it is larger, but not beyond them."""
    claim = "The gap in mutual information between wrong and right answers is widest in domain"
    if found := _single(analysis.tasks[0][-1], claim) or _no_others(analysis, claim):
        return found
    tested, left_out = with_right_and_wrong(at_the_end(analysis))
    if len(tested) < 2 or not tested[0].evaluation.in_domain:
        return _untested(claim, "; ".join(left_out))
    inside, *outside = tested
    ratios = [information_ratios(inside, other) for other in outside]
    words = [f"{other.task} {_between(ratio['other'])}" for other, ratio in zip(outside, ratios, strict=True)]
    own = f"{inside.task} {_between(ratios[0]['inside'])}"
    larger = [(ratio["difference"]["value"] or 0.0) > 0 for ratio in ratios]
    clear = [_above(ratio["difference"]) for ratio in ratios]
    return Finding(
        claim=claim,
        verdict="seen" if all(clear) else "partly" if all(larger) else "not seen",
        evidence=f"MI of wrong over right answers at epoch {inside.epoch}: {'; '.join([own, *words, *left_out])}",
    )


def pictures_differ_out_of_domain(analysis: Analysis) -> Finding:
    """Seen where from the first fitted epoch to the last the share of some quadrant changes by another amount on each
    other task than in domain, beyond intervals that hold for all three quadrants at once; partly where on some."""
    claim = "In domain and out of domain the pictures of entropy and mutual information evolve differently"
    one = analysis.tasks[0][-1]
    if found := _single(one, claim) or _no_others(analysis, claim) or _one_epoch(analysis, claim):
        return found
    epochs = [analysis.comparable[place].epoch for place in (0, -1)]
    pairs = [[one for one in task if one.epoch in epochs] for task in analysis.tasks]
    pairs = [pair for pair in pairs if len(pair) == 2 and len({one.evaluation.questions for one in pair}) == 1]
    inside, *outside = pairs
    if not outside:
        return _untested(claim, f"no other task is scored on the same questions at epochs {epochs[0]} and {epochs[1]}")
    apart = []
    for other in outside:
        changes = changes_of_shares(inside, other)
        apart.append(any(_above(change) or _below(change) for change in changes.values()))
    words = f"epoch {epochs[0]} to {epochs[1]}: {'; '.join(map(_shares, pairs))}"
    return _by_count(claim, apart, words)


def torn_questions_keep_the_prior(analysis: Analysis) -> Finding:
    """Per task by `kvorum.uncertainty.retention.carried` at the last epoch; seen or not seen where every task that can
    be tested says so, else partly."""
    claim = "Questions that stay torn in the overfitting regime still carry the pre-trained answer"
    if found := _no_overfitting(analysis, claim):
        return found
    words, verdicts = [], []
    for one in at_the_end(analysis):
        if one.carried is None:
            words.append(f"{one.task}: not scored at epoch 0")
            continue
        torn, other = one.carried["questions"]["torn"], one.carried["questions"]["other"]
        if one.carried["verdict"] == "not testable":
            words.append(f"{one.task}: {torn} torn and {other} other questions, too few to tell")
            continue
        same, distance = one.carried["same_answer"], one.carried["distance"]
        verdicts.append(one.carried["verdict"])
        words.append(
            f"{one.task}: members give the pre-trained answer to {_percents(same['torn'])} of "
            f"{torn} torn questions, {_percents(same['other'])} of others; distance from "
            f"the pre-trained distribution {_between(distance['ratio'])} of that between unrelated questions"
        )
    evidence = f"epoch {analysis.tasks[0][-1].epoch}: {'; '.join(words)}"
    if not verdicts:
        return _untested(claim, evidence)
    verdict: Verdict = verdicts[0] if len(set(verdicts)) == 1 else "partly"
    return Finding(claim=claim, verdict=verdict, evidence=evidence)


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


def _untested(claim: str, evidence: str) -> Finding:
    return Finding(claim=claim, verdict="not testable", evidence=evidence)


def _single(one: Studied, claim: str) -> Finding | None:
    return None if len(one.evaluation.members) > 1 else _untested(claim, "one member alone")


def _one_epoch(analysis: Analysis, claim: str) -> Finding | None:
    if len(analysis.comparable) > 1:
        return None
    return _untested(claim, f"{analysis.tasks[0][0].task}: fewer than two fitted epochs on the same questions")


def _no_others(analysis: Analysis, claim: str) -> Finding | None:
    inside, *outside = at_the_end(analysis)
    if not inside.evaluation.in_domain:
        return _untested(claim, "the task fitted on is not scored")
    return None if outside else _untested(claim, f"no other task is scored at epoch {inside.epoch}")


def _no_overfitting(analysis: Analysis, claim: str) -> Finding | None:
    """Overfitting begins with the members: an ensemble may still gain when each of them has begun to lose."""
    if found := _single(analysis.tasks[0][-1], claim) or _one_epoch(analysis, claim):
        return found
    if best_alone(analysis) != analysis.comparable[-1].epoch:
        return None
    task = analysis.tasks[0][0].task
    return _untested(
        claim, f"{task}: the members' NLL has not risen again by the last epoch: nothing is overfitted yet"
    )


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


def _shares(pair: Sequence[Studied]) -> str:
    shares = [[_percents({**one.shares[name]["share"], "low": None}) for one in pair] for name in QUADRANTS]
    words = ", ".join(f"{name} {before} to {after}" for name, (before, after) in zip(QUADRANTS, shares, strict=True))
    return f"{pair[0].task} {words}"
