"""The loop: choose, reveal, fit, score; round by round, for every acquisition function and all seeds at once."""

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from kvorum.acquisition import ACQUISITION_NAMES, ACQUISITIONS, NEED_HIDDEN, AcquisitionName, Pool
from kvorum.active.config import POOL, LearnConfig
from kvorum.active.directory import begin
from kvorum.active.hidden import load_hidden, save_hidden
from kvorum.active.plan import Plan, candidates, first_labels, members_of, plan_experiment, rounds_in
from kvorum.active.progress import Rounds, SilentRounds
from kvorum.active.records import START, Added, Learned, PartState, Record
from kvorum.adapters import AdapterStack
from kvorum.adapters.seeds import Stream, generator_seed
from kvorum.errors import KvorumError
from kvorum.files import atomic, make_folder, sha256
from kvorum.posterior.fitting import Fitting
from kvorum.posterior.hidden import HiddenMeans
from kvorum.posterior.posterior import Posterior
from kvorum.posterior.scoring import Probabilities
from kvorum.posterior.warm_start import WarmStart
from kvorum.predictions import Predictions
from kvorum.run import locked

log = logging.getLogger(__name__)


def learn(config: LearnConfig, progress: Rounds | None = None) -> Learned:
    """Run an experiment, or what is left of it, into `config.out`; what is done is left as it is.

    Raises `KvorumError` for whatever cannot be run, before anything is computed, and where the directory holds another
    experiment.
    """
    plan = plan_experiment(config)
    with locked(config.out):
        learned = begin(plan)
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

    def run(self) -> None:
        """Every round that is still to do."""
        wanted = self.config.acquisitions
        self.told.begin(1 + len(wanted) * self.rounds)
        self._round(START, 0)
        for acquisition in wanted:
            for number in range(1, self.rounds + 1):
                self._round(acquisition, number)

    @property
    def rounds(self) -> int:
        """How many rounds after the start the pool is enough for."""
        return rounds_in(self.config, len(self.plan.pool))

    def _round(self, acquisition: str, number: int) -> None:
        """Choose by what the round before has left, fit, score, and keep all of it."""
        missing = [seed for seed in self.config.seeds if not self._kept(acquisition, number, seed)]
        self.told.round(acquisition, number, of=self.rounds)
        if missing:
            added = {seed: self._added(acquisition, number, seed) for seed in missing}
            labelled = {
                seed: [*self._labelled(acquisition, number - 1, seed), *self._places(added[seed])] for seed in missing
            }
            self._fit_and_score(acquisition, number, labelled, added)
        self.told.done(self.learned, acquisition, number)

    def _kept(self, acquisition: str, number: int, seed: int) -> bool:
        """Whether a round of a seed is there, with all that the next one needs."""
        learned = self.learned
        kept = [learned.record_file(acquisition, number, seed)]
        if self._hides(acquisition, number) and len(self.plan.pool) > self.config.initial:
            kept.append(learned.hidden_file(acquisition, number, seed))
        return all(file.is_file() for file in kept)

    def _hides(self, acquisition: str, number: int) -> bool:
        """Whether hidden states are wanted after a round."""
        return bool(NEED_HIDDEN & ({acquisition} if number else set(self.config.acquisitions)))

    def _labelled(self, acquisition: str, number: int, seed: int) -> list[int]:
        """The places in the pool of what a seed had labelled by a round."""
        records = [self.learned.record(acquisition, each, seed) for each in range(number + 1)]
        return [place for record in records for place in self._places(record.added)]

    def _places(self, added: Sequence[Added]) -> list[int]:
        return [self.plan.pool.places[one.id] for one in added]

    def _added(self, acquisition: str, number: int, seed: int) -> list[Added]:
        """What a seed has labelled before a round's fit."""
        if number == 0:
            first = first_labels(self.config, seed, len(self.plan.pool))
            return self._described(first, before=[], predictions=None, scores=None)
        before = self._labelled(acquisition, number - 1, seed)
        predictions = self.learned.pool(acquisition, number - 1, seed)
        name: AcquisitionName = next(one for one in ACQUISITION_NAMES if one == acquisition)
        hidden, labelled = None, None
        if name in NEED_HIDDEN:
            hidden, labelled = load_hidden(self.learned.hidden_file(acquisition, number - 1, seed))
        pool = Pool(probs=predictions.probs, rest=predictions.rest, hidden=hidden, labelled_hidden=labelled)
        if len(pool) < self.config.batch:
            log.warning("the pool has %d questions left, fewer than %d: all are taken", len(pool), self.config.batch)
        lot = generator_seed(seed, Stream.ACQUISITION, number, ACQUISITION_NAMES.index(name))
        batch = ACQUISITIONS[name](pool, min(self.config.batch, len(pool)), seed=lot)
        chosen = [self.plan.pool.places[predictions.ids[i]] for i in batch.chosen]
        return self._described(chosen, before=before, predictions=predictions, scores=batch.scores)

    def _described(
        self, chosen: Sequence[int], *, before: Sequence[int], predictions: Predictions | None, scores: Any
    ) -> list[Added]:
        pool = self.plan.pool
        rows = {name: row for row, name in enumerate(predictions.ids)} if predictions is not None else {}
        known = {pool.same[place] for place in before}
        found = []
        for place in chosen:
            question = pool.questions[place]
            row = rows.get(question.id)
            found.append(
                Added(
                    id=question.id,
                    part=pool.parts[place],
                    subject=question.subject,
                    score=None if row is None else float(scores[row]),
                    entropy=None if predictions is None or row is None else float(predictions.predictive_entropy[row]),
                    mutual_information=(
                        None if predictions is None or row is None else float(predictions.mutual_information[row])
                    ),
                    repeats=pool.same[place] in known,
                )
            )
            known.add(pool.same[place])
        return found

    def _fit_and_score(
        self, acquisition: str, number: int, labelled: Mapping[int, list[int]], added: Mapping[int, list[Added]]
    ) -> None:
        posterior = self._fitted(acquisition, number, labelled)
        hidden = self._hides(acquisition, number)
        scored = Scored(self.plan, posterior, labelled, number, hidden=hidden, told=self.told.questions)
        folder = self.learned.folder(acquisition, number)
        make_folder(folder)
        if self.config.start == "posterior":
            with atomic(self.learned.adapters_file(acquisition, number)) as temporary:
                posterior.stack.save(temporary, model=self.plan.job.base.name)
        for seed in labelled:
            files = []
            for task in self.plan.tests:
                file = self.learned.test_file(acquisition, number, seed, task.name)
                scored.test(seed, task.name).save(file)
                files.append(file)
            pool = scored.pool(seed)
            if pool is not None:
                pool.save(self.learned.pool_file(acquisition, number, seed))
                files.append(self.learned.pool_file(acquisition, number, seed))
            if hidden and pool is not None:
                files.append(self.learned.hidden_file(acquisition, number, seed))
                save_hidden(files[-1], *scored.hidden(seed))
            self.learned.save(
                Record(
                    acquisition=acquisition,
                    round=number,
                    seed=seed,
                    labels=len(labelled[seed]),
                    added=added[seed],
                    pool=self._states(pool),
                    files={file.name: sha256(file) for file in files},
                )
            )

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
        job = dataclasses.replace(self.plan.job, members=members, shares=shares, warm=None)
        if self.config.start == "posterior" and number:
            job = dataclasses.replace(job, warm=self._warm(acquisition, number - 1, members))
        return Fitting(job, None, self.told.fitting()).run_all()

    def _warm(self, acquisition: str, number: int, members: Sequence[int]) -> WarmStart:
        file = self.learned.adapters_file(acquisition, number)
        stack = AdapterStack.load(file)
        if absent := set(members) - set(stack.members):
            raise KvorumError(
                f"{file}: members {sorted(absent)} are missing; remove {file.parent}, and it is made again"
            )
        return WarmStart(
            stack=stack.select([stack.members.index(member) for member in members]),
            run=str(file),
            epoch=self.config.fit.epochs,
            base_revision=self.plan.job.base.revision,
            answer_format=self.config.fit.answer_format,
            fitted_on=frozenset(),
        )


class Scored:
    """What the members of several seeds make of the test and of the pool, from one pass over all of it."""

    def __init__(
        self,
        plan: Plan,
        posterior: Posterior,
        labelled: Mapping[int, list[int]],
        number: int,
        *,
        hidden: bool,
        told: Callable[[int, int], None],
    ) -> None:
        self.plan = plan
        self.posterior = posterior
        self.labelled = labelled
        config, stack = plan.config, posterior.stack
        active = [stack.members[i] for i in stack.active]
        self.members = {seed: [active.index(m) for m in members_of(config, seed) if m in active] for seed in labelled}
        if lost := [seed for seed, members in self.members.items() if not members]:
            raise KvorumError(f"all members of seed {lost[0]} diverged; lower the lr in settings")
        self.places = {seed: candidates(config, number, known, len(plan.pool)) for seed, known in labelled.items()}
        wanted = {place for places in self.places.values() for place in places}
        if hidden:
            wanted |= {place for places in labelled.values() for place in places}
        self.rows = {place: row for row, place in enumerate(sorted(wanted))}
        encoded = [plan.encoded[place] for place in self.rows]
        self.starts: dict[str, int] = {}
        for task, tokens in zip(plan.tests, plan.job.evaluation_encoded, strict=True):
            self.starts[task.name] = len(encoded)
            encoded += tokens
        self.means = HiddenMeans(list(self.members.values())) if hidden else None
        with posterior.scoring(encoded) as scorer:
            self.scores: Probabilities = scorer(encoded, told, hidden=self.means)

    def test(self, seed: int, name: str) -> Predictions:
        """A seed's predictions on a test task."""
        task = next(one for one in self.plan.tests if one.name == name)
        rows = np.arange(self.starts[name], self.starts[name] + len(task.test))
        source = {"task": name, "split": task.test_split, "source": task.source}
        return self._of(seed).predictions(task.test, self._part(seed, rows), source)

    def pool(self, seed: int) -> Predictions | None:
        """A seed's predictions on the unlabelled questions that it may choose from next; None where there is none."""
        places = self.places[seed]
        if not places:
            return None
        rows = np.array([self.rows[place] for place in places])
        questions = [self.plan.pool.questions[place] for place in places]
        return self._of(seed).predictions(questions, self._part(seed, rows), {"task": POOL})

    def hidden(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """The mean hidden states of those questions, and of what the seed has labelled."""
        assert self.means is not None
        means = self.means.means[list(self.members).index(seed)]
        wanted = (self.places[seed], self.labelled[seed])
        first, second = (means[[self.rows[place] for place in places]] for places in wanted)
        return first, second

    def _of(self, seed: int) -> Posterior:
        stack, mine = self.posterior.stack, members_of(self.plan.config, seed)
        pool = [self.plan.pool.questions[place] for place in self.labelled[seed]]
        return dataclasses.replace(
            self.posterior,
            stack=stack.select([i for i, member in enumerate(stack.members) if member in mine]),
            fitted_on=frozenset((q.question, q.choices) for q in pool),
            facts=self.posterior.facts | {"seed": seed},
        )

    def _part(self, seed: int, rows: np.ndarray) -> Probabilities:
        probs, rest = self.scores
        members = self.members[seed]
        return probs[members][:, rows], rest[members][:, rows]
