"""What a function chose: from which parts and subjects, what twice, how uncertain, how much like another function."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from kvorum.active.config import Part
from kvorum.active.records import Added, PartState, Record
from kvorum.report.learning.estimate import LEVEL, Estimate, of_share
from kvorum.report.learning.read import Rounds

MOST_SUBJECTS = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class PoolPart:
    """A part of the pool before anything was chosen from it."""

    part: str
    noise: bool
    """Whether its labels are drawn by lot."""
    questions: float
    """Scored after the start, as a mean over seeds: all that were not drawn for it, or as many as `candidates` says."""
    drawn: float
    """For the start, as a mean over seeds."""
    share: float
    """Of all parts: what a function that chose by lot would take of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PartShare:
    """How much of what a function chose came from a part."""

    part: str
    noise: bool
    questions: int
    """Over all seeds."""
    share: Estimate


@dataclass(frozen=True, kw_only=True, slots=True)
class Doubt:
    """Mean uncertainty of the chosen questions when they were chosen, and of those they were chosen from; nats."""

    chosen: Estimate
    pool: Estimate
    difference: Estimate
    """The first minus the second, seed by seed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ChosenInRound:
    """What was chosen before a round's fit."""

    round: int
    labels: int
    shares: tuple[float, ...]
    """Of each part, in the pool's order, as a mean over seeds."""
    repeats: float
    entropy: Doubt
    mutual_information: Doubt


@dataclass(frozen=True, kw_only=True, slots=True)
class SubjectShare:
    """How much of what a function chose was of a subject."""

    subject: str
    questions: int
    """Over all seeds."""
    share: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Chosen:
    """What a function chose after the start."""

    questions: int
    """Over all seeds."""
    parts: tuple[PartShare, ...]
    noise: Estimate | None
    """Share of questions whose labels are drawn by lot; None where the pool has none."""
    repeats: int
    """Questions labelled before, but for case, spaces and the order of their choices; over all seeds."""
    repeats_share: Estimate
    entropy: Doubt
    mutual_information: Doubt
    subjects: tuple[SubjectShare, ...]
    """The commonest first."""
    other_subjects: int
    """How many more there are."""
    rounds: tuple[ChosenInRound, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Overlap:
    """How much two functions chose the same questions."""

    first: str
    second: str
    round: int
    """The last that both have come to."""
    jaccard: Estimate
    """What both chose over what either did, after the start; 1 where they are the same."""


def pool_parts(start: Sequence[Record], parts: Mapping[str, Part]) -> tuple[PoolPart, ...]:
    """The parts as the start found them."""
    sizes = {name: float(np.mean([_questions(record, name) for record in start])) for name in parts}
    total = sum(sizes.values())
    return tuple(
        PoolPart(
            part=name,
            noise=part.labels == "random",
            questions=sizes[name],
            drawn=float(np.mean([sum(question.part == name for question in record.added) for record in start])),
            share=sizes[name] / total if total else 0.0,
        )
        for name, part in parts.items()
    )


def chosen_by(rounds: Rounds, parts: Mapping[str, Part], level: float) -> Chosen | None:
    """What a function chose; None where it has done no round. `level` is that of the interval of `noise`."""
    if len(rounds) < 2:
        return None
    seeds = range(len(rounds.records[0]))
    added = [[question for of_round in rounds.records[1:] for question in of_round[seed].added] for seed in seeds]
    everything = [question for of_seed in added for question in of_seed]
    noise = [name for name, part in parts.items() if part.labels == "random"]
    subjects = Counter(question.subject for question in everything)
    # Equals by name, so that the same experiment gives the same page.
    common = sorted(subjects.items(), key=lambda item: (-item[1], item[0]))
    return Chosen(
        questions=len(everything),
        parts=tuple(
            PartShare(
                part=name,
                noise=name in noise,
                questions=sum(question.part == name for question in everything),
                share=_share_of(added, lambda question, name=name: question.part == name),
            )
            for name in parts
        ),
        noise=_share_of(added, lambda question: question.part in noise, level) if noise else None,
        repeats=sum(question.repeats for question in everything),
        repeats_share=_share_of(added, lambda question: question.repeats),
        entropy=_doubt(rounds, "entropy", range(1, len(rounds))),
        mutual_information=_doubt(rounds, "mutual_information", range(1, len(rounds))),
        subjects=tuple(
            SubjectShare(subject=name, questions=number, share=number / len(everything))
            for name, number in common[:MOST_SUBJECTS]
        ),
        other_subjects=max(0, len(common) - MOST_SUBJECTS),
        rounds=tuple(_in_round(rounds, parts, number) for number in range(1, len(rounds))),
    )


def overlaps(functions: Sequence[Rounds]) -> tuple[Overlap, ...]:
    """Of every pair of functions that have both done a round."""
    found = []
    for first, second in combinations(functions, 2):
        last = min(len(first), len(second)) - 1
        if last < 1:
            continue
        seeds = range(len(first.records[0]))
        shares = []
        for seed in seeds:
            one, other = (_ids(rounds, seed, last) for rounds in (first, second))
            shares.append(len(one & other) / len(one | other) if one | other else None)
        found.append(
            Overlap(first=first.acquisition, second=second.acquisition, round=last, jaccard=Estimate.of(shares))
        )
    return tuple(found)


def weighted(states: Iterable[PartState], key: str) -> float | None:
    """The mean of an uncertainty over the questions of several parts of the pool; None where there is no question."""
    known = [(state.questions, getattr(state, key)) for state in states if getattr(state, key) is not None]
    total = sum(questions for questions, _ in known)
    return sum(questions * value for questions, value in known) / total if total else None


def _in_round(rounds: Rounds, parts: Mapping[str, Part], number: int) -> ChosenInRound:
    added = [record.added for record in rounds.records[number]]
    return ChosenInRound(
        round=number,
        labels=rounds.labels[number],
        shares=tuple(_mean(_share(of_seed, [name]) for of_seed in added) or 0.0 for name in parts),
        repeats=_mean(_mean(question.repeats for question in of_seed) for of_seed in added) or 0.0,
        entropy=_doubt(rounds, "entropy", [number]),
        mutual_information=_doubt(rounds, "mutual_information", [number]),
    )


def _doubt(rounds: Rounds, key: str, numbers: Iterable[int]) -> Doubt:
    """Chosen before a round's fit is from what the fit of the round before left unlabelled."""
    numbers = list(numbers)
    chosen, pool = [], []
    for seed in range(len(rounds.records[0])):
        chosen.append(
            _mean(getattr(question, key) for number in numbers for question in rounds.records[number][seed].added)
        )
        pool.append(_mean(weighted(rounds.records[number - 1][seed].pool, key) for number in numbers))
    return Doubt(
        chosen=Estimate.of(chosen),
        pool=Estimate.of(pool),
        difference=Estimate.of(
            None if one is None or other is None else one - other for one, other in zip(chosen, pool, strict=True)
        ),
    )


def _share_of(added: Sequence[Sequence[Added]], hit: Callable[[Added], bool], level: float = LEVEL) -> Estimate:
    """Of the questions of each seed."""
    hits, of = sum(hit(question) for of_seed in added for question in of_seed), sum(map(len, added))
    shares = (_mean(hit(question) for question in of_seed) for of_seed in added)
    return Estimate.of(shares, level, of_share(hits, of, len(added)))


def _share(added: Sequence[Added], parts: Sequence[str]) -> float | None:
    return _mean(question.part in parts for question in added)


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _questions(record: Record, part: str) -> int:
    return sum(state.questions for state in record.pool if state.part == part)


def _ids(rounds: Rounds, seed: int, last: int) -> set[tuple[str, str]]:
    return {
        (question.part, question.id) for of_round in rounds.records[1 : last + 1] for question in of_round[seed].added
    }
