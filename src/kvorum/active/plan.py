"""An experiment before it runs: its questions read and checked, the base model loaded."""

import dataclasses
import logging
from collections import Counter
from collections.abc import Sequence
from functools import cached_property

import numpy as np

from kvorum.acquisition.names import AcquisitionName
from kvorum.active.config import POOL, LearnConfig
from kvorum.active.pool import pool_of, without_tested
from kvorum.adapters.seeds import Stream, generator_seed
from kvorum.engine import BaseModel
from kvorum.errors import KvorumError
from kvorum.posterior.job import Inputs, Job, plan, read_inputs
from kvorum.tasks import EncodedQuestion, Question, Task, load_task
from kvorum.tasks.same import Sameness, sameness
from kvorum.tasks.sample import limit

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PoolQuestions:
    """The pool of an experiment, with the labels that are revealed of it."""

    questions: tuple[Question, ...]
    """All parts', with their answers, and ids that begin with the part."""
    parts: tuple[str, ...]
    """Which part each question is of."""

    def __len__(self) -> int:
        return len(self.questions)

    @property
    def sizes(self) -> dict[str, int]:
        """How many questions there are of each part."""
        return dict(Counter(self.parts))

    @cached_property
    def places(self) -> dict[str, int]:
        """The place of each question by its id."""
        return {question.id: place for place, question in enumerate(self.questions)}

    @cached_property
    def same(self) -> tuple[Sameness, ...]:
        """What makes each question the one that it is."""
        return tuple(map(sameness, self.questions))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What an experiment needs, checked: a mistake in any of it has been raised by now."""

    config: LearnConfig
    job: Job
    """A fit on the whole pool, from which that of each round is made."""
    pool: PoolQuestions

    @property
    def tests(self) -> tuple[Task, ...]:
        """The test tasks, cut to their limit."""
        return self.job.evaluation

    @property
    def encoded(self) -> list[EncodedQuestion]:
        """The tokens of the pool's questions."""
        return self.job.encoded


def read_experiment(config: LearnConfig) -> tuple[PoolQuestions, tuple[Task, ...]]:
    """The pool and the test tasks.

    Raises `KvorumError` for tasks that cannot be read, a pool without answers to reveal, and one that overlaps the
    test.
    """
    fit = config.fit
    names = dict.fromkeys([*(part.task for part in config.pool), *config.test])
    tasks = {name: load_task(name, data_root=fit.data_root, skip_bad_rows=fit.skip_bad_rows) for name in names}
    tests = tuple(
        dataclasses.replace(tasks[name], test=limit(tasks[name].test, fit.evaluate_limit, fit.limit_to))
        for name in config.test
    )
    if silent := [task.name for task in tests if all(question.answer is None for question in task.test)]:
        raise KvorumError(f"test {silent[0]}: no question of it has an answer, so that nothing can be scored on it")
    questions: list[Question] = []
    where: list[str] = []
    for part in config.pool:
        task = tasks[part.task]
        chosen = limit(pool_of(task), part.limit, fit.limit_to)
        if part.labels == "random":
            chosen = tuple(_by_lot(question) for question in chosen)
        if unknown := [question.id for question in chosen if question.answer is None]:
            raise KvorumError(
                f"pool {task.name}: {len(unknown)} of {len(chosen)} questions have no answer to reveal, the first is "
                f"'{unknown[0]}'"
            )
        questions += [dataclasses.replace(q, id=f"{task.name}/{q.id}") for q in chosen]
        where += [task.name] * len(chosen)
    tested = {task.name: set(map(sameness, task.test)) for task in tests}
    left = {q.id for q in without_tested(questions, tested, leave_out=config.leave_out_tested)}
    kept = [(q, part) for q, part in zip(questions, where, strict=True) if q.id in left]
    pool = PoolQuestions(questions=tuple(q for q, _ in kept), parts=tuple(part for _, part in kept))
    _say_if_small(config, len(pool))
    return pool, tests


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiment:
    """An experiment with all that it names beside the base model, read and checked."""

    config: LearnConfig
    pool: PoolQuestions
    inputs: Inputs
    """Of a fit on the whole pool."""

    def of(self, seeds: Sequence[int], acquisitions: Sequence[AcquisitionName]) -> "Experiment":
        """The same for some of its seeds and acquisition functions alone."""
        config = dataclasses.replace(self.config, seeds=tuple(seeds), acquisitions=tuple(acquisitions))
        return dataclasses.replace(self, config=config)

    def plan(self, base: BaseModel | None = None) -> Plan:
        """Load the base model, unless it is handed over, and check what depends on it.

        Raises `KvorumError` for whatever cannot be run.
        """
        return Plan(config=self.config, job=plan(self.config.fit, base=base, inputs=self.inputs), pool=self.pool)


def prepare(config: LearnConfig) -> Experiment:
    """Read and check everything that an experiment names beside the base model.

    Raises `KvorumError` for whatever cannot be run.
    """
    pool, tests = read_experiment(config)
    task = Task(
        name=POOL,
        train=pool.questions,
        test=pool.questions,
        train_split="all",
        test_split="all",
        source=", ".join(part.task for part in config.pool),
    )
    return Experiment(config=config, pool=pool, inputs=read_inputs(config.fit, [task, *tests], kept=False))


def plan_experiment(config: LearnConfig) -> Plan:
    """Load and check everything that an experiment names.

    Raises `KvorumError` for whatever cannot be run.
    """
    return prepare(config).plan()


def rounds_in(config: LearnConfig, pool: int) -> int:
    """How many rounds after the start a pool of so many questions is enough for; the last may be smaller."""
    left = max(0, pool - config.initial)
    return min(config.rounds, -(-left // config.batch))


def members_of(config: LearnConfig, seed: int) -> tuple[int, ...]:
    """The numbers of a seed's members: no other seed's, so that several go on one base model, and each as if alone."""
    return tuple(range(seed * config.members, (seed + 1) * config.members))


def first_labels(config: LearnConfig, seed: int, pool: int) -> list[int]:
    """The places in the pool of what is labelled at the start."""
    drawn = np.random.default_rng(generator_seed(seed, Stream.FIRST_LABELS)).permutation(pool)
    return drawn[: config.initial].tolist()


def candidates(config: LearnConfig, number: int, labelled: Sequence[int], pool: int) -> list[int]:
    """The places in the pool that are scored after a round, of a seed that has these labelled; in the pool's order.

    All seeds draw alike, so that they score mostly the same questions.
    """
    drawn = np.random.default_rng(generator_seed(0, Stream.CANDIDATES, number)).permutation(pool)
    known = set(labelled)
    return sorted([int(place) for place in drawn if place not in known][: config.candidates])


def _by_lot(question: Question) -> Question:
    """The question with an answer that tells nothing: by its text alone, so that it is the same in every experiment."""
    letters = "\n".join((question.question, *question.choices)).encode()
    drawn = np.random.default_rng(generator_seed(0, Stream.RANDOM_LABELS, *letters[:4096]))
    return dataclasses.replace(question, answer=int(drawn.integers(len(question.choices))))


def _say_if_small(config: LearnConfig, pool: int) -> None:
    wanted = config.initial + config.rounds * config.batch
    if wanted > pool:
        log.warning(
            "the pool holds %d questions, fewer than the %d that %d rounds would label: it is used whole, in fewer "
            "rounds",
            pool,
            wanted,
            config.rounds,
        )
