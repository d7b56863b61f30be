"""The loop: choose, reveal, fit, score; round by round, for every acquisition function and all seeds at once."""

import dataclasses
import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence

from jaxtyping import Float64
from numpy import ndarray

from kvorum.acquisition import ACQUISITION_NAMES, ACQUISITIONS, NEED_HIDDEN, AcquisitionName, Pool
from kvorum.active.config import LearnConfig
from kvorum.active.directory import begin, facts_of
from kvorum.active.hidden import load_hidden, save_hidden
from kvorum.active.plan import Plan, first_labels, members_of, plan_experiment, rounds_in
from kvorum.active.progress import Rounds, SilentRounds
from kvorum.active.records import START, Added, Learned, PartState, Record
from kvorum.active.scored import Scored
from kvorum.adapters import AdapterStack
from kvorum.adapters.seeds import Stream, generator_seed
from kvorum.errors import KvorumError
from kvorum.files import atomic, make_folder, remove, sha256
from kvorum.posterior.fitting import Fitting
from kvorum.posterior.posterior import Posterior
from kvorum.posterior.warm_start import WarmStart
from kvorum.predictions import Predictions
from kvorum.run import locked

log = logging.getLogger(__name__)


def learn(config: LearnConfig, progress: Rounds | None = None) -> Learned:
    """Run an experiment, or what is left of it, into `config.out`; what is done is left as it is.

    Raises `KvorumError` for whatever cannot be run, before anything is computed, and where the directory holds another
    experiment; and where all members of a seed diverge, once the other seeds are kept.
    """
    plan = plan_experiment(config)
    with locked(config.out):
        learned = begin(config, facts_of(plan))
        with progress or SilentRounds() as told:
            Loop(plan, learned, told).run()
    return learned


class Loop:
    """An experiment under way."""

    def __init__(self, plan: Plan, learned: Learned, told: Rounds) -> None:
        self.plan = plan
        self.config = plan.config
        self.learned = learned
        self.told = told
        self.rounds = rounds_in(self.config, len(plan.pool))
        """How many rounds after the start the pool is enough for."""

    def run(self) -> None:
        """Every round that is still to do."""
        self.told.begin(1 + len(self.config.acquisitions) * self.rounds)
        self.start()
        for acquisition in self.config.acquisitions:
            self.follow(acquisition)

    def start(self) -> None:
        """Round 0, where it is still to do."""
        self._round(START, 0, {seed: [] for seed in self.config.seeds})

    def follow(self, acquisition: AcquisitionName) -> None:
        """The rounds after the start by one acquisition function, which need those of no other."""
        before = {seed: self._added_by(acquisition, 0, seed) for seed in self.config.seeds}
        for number in range(1, self.rounds + 1):
            self._round(acquisition, number, before)
            if number > 1:
                self._let_go(acquisition, number - 1)

    def _round(self, acquisition: str, number: int, labelled: dict[int, list[int]]) -> None:
        """Choose by what the round before has left, fit, score, and keep all of it.

        `labelled`: the places in the pool of what each seed has labelled; what it labels now is added there.
        """
        self.told.round(acquisition, number, of=self.rounds)
        missing = [seed for seed in self.config.seeds if not self._kept(acquisition, number, seed, labelled[seed])]
        added = {seed: self._choose(acquisition, number, seed, labelled[seed]) for seed in missing}
        for seed in self.config.seeds:
            if seed in added:
                labelled[seed] = [*labelled[seed], *self._places(added[seed])]
            else:
                labelled[seed] = [*labelled[seed], *self._added_by(acquisition, number, seed)]
        if missing:
            self._fit_and_score(acquisition, number, {seed: labelled[seed] for seed in missing}, added)
        self.told.done(self.learned, acquisition, number)

    def _kept(self, acquisition: str, number: int, seed: int, before: Sequence[int]) -> bool:
        """Whether a round of a seed is there, belongs to the rounds before it, and has all that the next one needs."""
        if not self.learned.record_file(acquisition, number, seed).is_file():
            return False
        record = self.learned.record(acquisition, number, seed)
        unknown = [one.id for one in record.added if one.id not in self.plan.pool.places]
        if unknown or record.labelled != self._digest([*before, *self._places(record.added)]):
            log.info("%s, round %d, seed %d follows on other rounds than these: done again", acquisition, number, seed)
            return False
        wanted = []
        if self._hides(acquisition, number) and any(part.questions for part in record.pool):
            wanted.append(self.learned.hidden_file(acquisition, number, seed))
        if self.config.start == "posterior":
            wanted.append(self.learned.adapters_file(acquisition, number, seed))
        return all(file.name in record.files for file in wanted)

    def _hides(self, acquisition: str, number: int) -> bool:
        """Whether hidden states are wanted after a round."""
        return bool(NEED_HIDDEN & ({acquisition} if number else set(self.config.acquisitions)))

    def _added_by(self, acquisition: str, number: int, seed: int) -> list[int]:
        """The places in the pool of what a seed labelled before a round's fit."""
        return self._places(self.learned.record(acquisition, number, seed).added)

    def _places(self, added: Iterable[Added]) -> list[int]:
        return [self.plan.pool.places[one.id] for one in added]

    def _digest(self, labelled: Sequence[int]) -> str:
        ids = [self.plan.pool.questions[place].id for place in labelled]
        return hashlib.sha256(json.dumps(ids).encode()).hexdigest()

    def _choose(self, acquisition: str, number: int, seed: int, before: Sequence[int]) -> list[Added]:
        """What a seed labels before a round's fit."""
        if number == 0:
            first = first_labels(self.config, seed, len(self.plan.pool))
            return [
                self._described(place, repeats) for place, repeats in zip(first, self._repeats([], first), strict=True)
            ]
        learned = self.learned
        predictions = learned.pool(acquisition, number - 1, seed)
        name: AcquisitionName = next(one for one in ACQUISITION_NAMES if one == acquisition)
        hidden, known = None, None
        if name in NEED_HIDDEN:
            file = learned.hidden_file(acquisition, number - 1, seed)
            hidden, known = load_hidden(learned.checked(acquisition, number - 1, seed, file))
        pool = Pool(probs=predictions.probs, rest=predictions.rest, hidden=hidden, labelled_hidden=known)
        if len(pool) < self.config.batch:
            log.warning("the pool has %d questions left, fewer than %d: all are taken", len(pool), self.config.batch)
        lot = generator_seed(seed, Stream.ACQUISITION, number, ACQUISITION_NAMES.index(name))
        batch = ACQUISITIONS[name](pool, self.config.batch, seed=lot)
        chosen = [self.plan.pool.places[predictions.ids[row]] for row in batch.chosen]
        return [
            self._described(place, repeats, (predictions, batch.scores, int(row)))
            for place, repeats, row in zip(chosen, self._repeats(before, chosen), batch.chosen, strict=True)
        ]

    def _repeats(self, before: Iterable[int], chosen: Iterable[int]) -> Iterator[bool]:
        """Of each chosen question, whether it is the same as one before it."""
        same = self.plan.pool.same
        known = {same[place] for place in before}
        for place in chosen:
            yield same[place] in known
            known.add(same[place])

    def _described(
        self,
        place: int,
        repeats: bool,
        chosen: tuple[Predictions, Float64[ndarray, "example"], int] | None = None,
    ) -> Added:
        """A question that is labelled; `chosen`: what was made of the pool, and its row there."""
        pool = self.plan.pool
        question = pool.questions[place]
        score = entropy = information = None
        if chosen is not None:
            predictions, scores, row = chosen
            score = float(scores[row])
            entropy, information = (
                float(predictions.predictive_entropy[row]),
                float(predictions.mutual_information[row]),
            )
        return Added(
            id=question.id,
            part=pool.parts[place],
            subject=question.subject,
            score=score,
            entropy=entropy,
            mutual_information=information,
            repeats=repeats,
        )

    def _fit_and_score(
        self, acquisition: str, number: int, labelled: Mapping[int, list[int]], added: Mapping[int, list[Added]]
    ) -> None:
        posterior = self._fitted(acquisition, number, labelled)
        hidden = self._hides(acquisition, number)
        scored = Scored(self.plan, posterior, labelled, number, hidden=hidden, told=self.told.questions)
        make_folder(self.learned.folder(acquisition, number))
        lost = [seed for seed in labelled if scored.lost(seed)]
        for seed in labelled:
            if seed not in lost:
                self._keep(acquisition, number, seed, scored, added[seed])
        if lost:
            raise KvorumError(
                f"all members of seed {lost[0]} diverged in {acquisition}, round {number}; the others are kept. Leave "
                "it out of seeds, or begin again with a lower lr and another out"
            )

    def _keep(self, acquisition: str, number: int, seed: int, scored: Scored, added: list[Added]) -> None:
        """Write what came of a seed's round, the record last; one that is there first goes, whose files these are."""
        learned = self.learned
        remove(learned.record_file(acquisition, number, seed))
        files = []
        for task in self.plan.tests:
            files.append(learned.test_file(acquisition, number, seed, task.name))
            scored.test(seed, task.name).save(files[-1])
        pool = scored.pool(seed)
        if pool is not None:
            files.append(learned.pool_file(acquisition, number, seed))
            pool.save(files[-1])
            if scored.means is not None:
                files.append(learned.hidden_file(acquisition, number, seed))
                save_hidden(files[-1], *scored.hidden(seed))
        if self.config.start == "posterior":
            files.append(learned.adapters_file(acquisition, number, seed))
            stack = scored.posterior.stack
            mine = [stack.members.index(member) for member in members_of(self.config, seed)]
            with atomic(files[-1]) as temporary:
                stack.select(mine).save(temporary, model=self.plan.job.base.name)
        learned.save(
            Record(
                acquisition=acquisition,
                round=number,
                seed=seed,
                labels=len(scored.labelled[seed]),
                labelled=self._digest(scored.labelled[seed]),
                added=added,
                pool=self._states(pool),
                files={file.name: sha256(file) for file in files},
            )
        )

    def _let_go(self, acquisition: str, number: int) -> None:
        """Remove of a round what only the next one needed: hidden states and adapters are large."""
        for seed in self.config.seeds:
            for file in (self.learned.hidden_file, self.learned.adapters_file):
                self.learned.let_go(file(acquisition, number, seed))

    def _states(self, pool: Predictions | None) -> list[PartState]:
        states = []
        for part in self.learned.parts:
            rows = [] if pool is None else [i for i, name in enumerate(pool.ids) if self._part_of(name) == part]
            entropy = float(pool.predictive_entropy[rows].mean()) if pool is not None and rows else None
            information = float(pool.mutual_information[rows].mean()) if pool is not None and rows else None
            states.append(PartState(part=part, questions=len(rows), entropy=entropy, mutual_information=information))
        return states

    def _part_of(self, name: str) -> str:
        return self.plan.pool.parts[self.plan.pool.places[name]]

    def _fitted(self, acquisition: str, number: int, labelled: Mapping[int, list[int]]) -> Posterior:
        """The members of some seeds, fitted together, each seed on its own questions."""
        members = tuple(member for seed in labelled for member in members_of(self.config, seed))
        shares = {m: tuple(places) for seed, places in labelled.items() for m in members_of(self.config, seed)}
        goes_on = self.config.start == "posterior" and number > 0
        warm = self._warm(acquisition, number - 1, list(labelled)) if goes_on else None
        job = dataclasses.replace(self.plan.job, members=members, shares=shares, warm=warm)
        return Fitting(job, None, self.told.fitting()).run_all()

    def _warm(self, acquisition: str, number: int, seeds: Sequence[int]) -> WarmStart:
        """Where a round has left the members of some seeds."""
        files = [self.learned.adapters_file(acquisition, number, seed) for seed in seeds]
        pairs = zip(files, seeds, strict=True)
        stacks = [AdapterStack.load(self.learned.checked(acquisition, number, seed, file)) for file, seed in pairs]
        return WarmStart(
            stack=AdapterStack.joined(stacks),
            run=str(files[0].parent),
            epoch=self.config.fit.epochs,
            base_revision=self.plan.job.base.revision,
            quantize=self.plan.job.base.quantize,
            answer_format=self.config.fit.answer_format,
            fitted_on=frozenset(),
        )
