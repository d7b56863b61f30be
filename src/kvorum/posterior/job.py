"""A fit before it runs: everything loaded, tokenised and checked."""

import dataclasses
import hashlib
import json
import logging
import platform
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from kvorum.adapters import AdapterStack, Stream, find_targets, generator_seed, kaiming_uniform_stack
from kvorum.adapters.targets import Target
from kvorum.config import FitConfig
from kvorum.engine import BaseModel, Item, load_base, planned_base, verify_packed
from kvorum.engine.checkpointed import refuse_uncheckpointable
from kvorum.engine.spread import is_offloaded
from kvorum.errors import KvorumError, first_line
from kvorum.posterior.estimate import needed
from kvorum.posterior.posterior import token_budget
from kvorum.posterior.scoring import passes, scoring_budget
from kvorum.posterior.warm_start import WarmStart, read_warm_start
from kvorum.predictions import questions_digest
from kvorum.run import Run
from kvorum.run.drift import RESULTS_VERSION
from kvorum.tasks import EncodedQuestion, Prompt, Question, Task, default_template, encode, load_task, load_template
from kvorum.tasks.digest import digest
from kvorum.tasks.sample import limit
from kvorum.tracking import refuse_missing

LARGEST = 8
"""Of so many steps, those with the most tokens, the passes are looked at for how much memory a fit needs."""

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """What `fit` needs, checked: a mistake in any of it has been raised by now."""

    config: FitConfig
    base: BaseModel
    prompt: Prompt
    task: Task
    train: tuple[Question, ...]
    encoded: list[EncodedQuestion]
    evaluation: tuple[Task, ...]
    """The tasks to score, cut to the evaluation limit."""
    evaluation_encoded: tuple[list[EncodedQuestion], ...]
    """Their test questions' tokens: the same at every epoch."""
    targets: list[Target]
    warm: WarmStart | None = None
    """The posterior that the members go on from; None: they start at the prior."""
    start_digest: str | None = None
    """Of that posterior, with all its members."""
    members: tuple[int, ...]
    """The members' numbers."""
    whole: bool = True
    """Whether these are all members of the fit; else others are fitted elsewhere, and it goes on where all of these
    diverge."""
    shares: Mapping[int, tuple[int, ...]] = dataclasses.field(default_factory=dict)
    """By a member's number, the places of the training questions that it is fitted on, as many for each; of a member
    that is not there, all questions."""

    def part(self, members: Sequence[int]) -> "Job":
        """The same fit of some of its members alone."""
        warm = self.warm
        if warm is not None:
            places = [warm.stack.members.index(member) for member in members]
            warm = dataclasses.replace(warm, stack=warm.stack.select(places))
        whole = tuple(members) == self.members
        return dataclasses.replace(self, members=tuple(members), warm=warm, whole=whole)

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in an epoch; the last one may see fewer questions."""
        return -(-len(self.share(self.members[0])) // self.config.batch_size)

    @property
    def tokens_per_epoch(self) -> int:
        """Tokens of all members that go through the model in an epoch of fitting."""
        return sum(Item(0, self.encoded[i]).tokens() for member in self.members for i in self.share(member))

    def share(self, member: int) -> Sequence[int]:
        """The places of the training questions that a member is fitted on."""
        return self.shares.get(member, range(len(self.encoded)))

    @property
    def parameters_per_member(self) -> int:
        """How many numbers a member learns."""
        return self.config.rank * sum(t.in_features + t.out_features for t in self.targets)

    @property
    def token_budget(self) -> int:
        """Most tokens in a pass."""
        return token_budget(self.base.device, self.config.token_budget)

    @property
    def out(self) -> Path:
        """The run directory."""
        return out_of(self.config, self.task)

    def start(self) -> AdapterStack:
        """The stack that every member starts from: the untouched model, or the posterior to go on from."""
        config = self.config
        if self.warm is not None:
            # A copy, since a fit moves what it is given.
            return self.warm.stack.select(range(len(self.warm.stack.members)))
        return kaiming_uniform_stack(
            self.targets,
            members=self.members,
            rank=config.rank,
            alpha=config.alpha,
            seed=config.seed,
            shared="initialisation" not in config.diversity,
        )

    def facts(self) -> dict[str, Any]:
        """What was found: versions, the base model's revision, digests of the questions, sizes."""
        return {
            "kvorum": version("kvorum"),
            "torch": version("torch"),
            "transformers": version("transformers"),
            "python": platform.python_version(),
            "device": str(self.base.device),
            "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "model": self.base.name,
            "base_revision": self.base.revision,
            "dtype": str(self.base.model.dtype).removeprefix("torch."),
            "base_parameters": self.base.parameters,
            "target_modules": len(self.targets),
            "parameters_per_member": self.parameters_per_member,
            "seed": self.config.seed,
            "chat": self.config.chat,
            "prompt_template": self.prompt.template,
            "task": self.task.name,
            "task_source": self.task.source,
            "train_split": self.task.train_split,
            "train_questions": len(self.train),
            "train_digest": digest(self.train),
            "tokens_digest": _tokens_digest(self.encoded),
            "results_version": RESULTS_VERSION,
            "skipped_rows": list(self.task.skipped),
            "steps_per_epoch": self.steps_per_epoch,
            "tokens_per_epoch": self.tokens_per_epoch,
            "start_digest": self.start_digest,
            "warm_start_epoch": self.warm.epoch if self.warm else None,
            "evaluation_tasks": [task.name for task in self.evaluation],
            "evaluation_questions": {task.name: len(task.test) for task in self.evaluation},
        }

    def order(self, member: int, epoch: int) -> Int64[np.ndarray, " question"]:
        """The training questions of a member in an epoch, by their places."""
        drawn, own = np.array(self.share(member)), self.config.diversity
        size = len(drawn)
        if "bootstrap" in own:
            resample = np.random.default_rng(generator_seed(self.config.seed, Stream.BOOTSTRAP, member))
            drawn = drawn[resample.integers(size, size=size)]
        whose = member if "order" in own else 0
        generator = np.random.default_rng(generator_seed(self.config.seed, Stream.ORDER, whose, epoch))
        return drawn[generator.permutation(size)]

    def memory_estimate(self) -> dict[str, int]:
        """What fitting needs at its worst moment, in bytes: the base, the adapters with their optimizer, and a pass.

        Of a step and of a pass of scoring on tensors without values (`kvorum.posterior.estimate`), layers not compiled;
        what the libraries take beside tensors is not in it. Without `activations` where those cannot be told.
        """
        base = {"base model": self.base.bytes}
        try:
            found = needed(
                self.base.model,
                self.targets,
                self.config,
                self._largest_steps(),
                budget=self.token_budget,
                kind=self.base.device.type,
                scored=self._largest_scoring(),
            )
        except KvorumError:
            raise
        except (RuntimeError, NotImplementedError, TypeError, ValueError) as error:
            # Some operators, such as those of a mixture's experts, cannot do without values; some models, not be made.
            log.warning("what a pass needs is left out of the memory: %s", first_line(error))
            return base | {"adapters": 4 * 4 * len(self.members) * self.parameters_per_member}
        return base | {"adapters": found.adapters, "activations": found.activations}

    def _largest_steps(self) -> list[list[Item]]:
        """The items of those steps of the first epoch that have the most tokens."""
        size, tokens = self.config.batch_size, np.array([Item(0, question).tokens() for question in self.encoded])
        orders = [self.order(member, 1) for member in self.members]
        totals = sum(np.add.reduceat(tokens[order], np.arange(0, len(order), size)) for order in orders)
        seed = int(self.config.dropout > 0)
        return [
            [
                Item(position, self.encoded[i], seed)
                for position, order in enumerate(orders)
                for i in order[step * size : (step + 1) * size]
            ]
            for step in np.argsort(totals)[-LARGEST:]
        ]

    def _largest_scoring(self) -> list[Item]:
        """The items of that pass between epochs whose hidden states and logits are the most."""
        config: Any = self.base.model.config.get_text_config()
        budget = scoring_budget(self.base.device, self.config.token_budget)
        members, best, largest = len(self.members), 0, list[Item]()
        for encoded in self.evaluation_encoded:
            for rows, some in passes(encoded, members, budget):
                each = sum(
                    Item(0, encoded[i]).tokens() * config.hidden_size
                    + (1 if self.config.answer_format == "letter" else sum(map(len, encoded[i].candidates)))
                    * config.vocab_size
                    for i in rows
                )
                if len(some) * each > best:
                    best, largest = len(some) * each, [Item(member, encoded[i]) for member in some for i in rows]
        return largest


@dataclasses.dataclass(frozen=True, kw_only=True)
class Questions:
    """The questions that a configuration names, cut to its limits."""

    task: Task
    train: tuple[Question, ...]
    evaluation: tuple[Task, ...]

    @property
    def digest(self) -> str:
        """Of the training questions."""
        return digest(self.train)

    @property
    def evaluation_digests(self) -> dict[str, str]:
        """Of the questions of each task to score, by its name."""
        return digests_of_tests(self.evaluation)

    def answered(self, run: Run, epochs: int) -> bool:
        """Whether a run has so many epochs, and is scored on just these questions after each."""
        if not set(run.epochs) >= set(range(epochs + 1)):
            return False
        return all(
            run.scored(epoch, task) and run.questions_digest(epoch, task) == digest
            for task, digest in self.evaluation_digests.items()
            for epoch in range(epochs + 1)
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inputs:
    """What a configuration names beside the base model."""

    prompt: Prompt
    questions: Questions
    warm: WarmStart | None

    def facts(self) -> dict[str, Any]:
        """What a run of these must have been begun with, as far as it is known without the base model."""
        return {
            "prompt_template": self.prompt.template,
            "train_digest": self.questions.digest,
            "results_version": RESULTS_VERSION,
        }

    def members(self, config: FitConfig) -> tuple[int, ...]:
        """The numbers of all members."""
        return self.warm.stack.members if self.warm else tuple(range(config.members))


def plan(
    config: FitConfig,
    *,
    base: BaseModel | None = None,
    given: Sequence[Task] = (),
    kept: bool = True,
    weights: bool = True,
    inputs: Inputs | None = None,
) -> Job:
    """Load and check everything that a configuration names; what is handed over is not loaded again.

    The cheap things come first, so that a mistake in them does not wait for the model. `kept`: whether the fit goes
    into its run directory, where it may have begun already. `inputs`: all that it names beside the base model, where
    that is read already, on another machine even. `weights`: whether the base model is loaded; a job without them can
    be looked at, but not run.

    Raises `KvorumError` for whatever cannot be fitted.
    """
    inputs = inputs or read_inputs(config, given, kept=kept)
    prompt, questions, warm = inputs.prompt, inputs.questions, inputs.warm
    if base is not None and base.quantize != config.quantize:
        raise KvorumError(
            f"quantize is {config.quantize}, and the model that was handed over is held otherwise ({base.quantize}); "
            f"name the model instead, or say quantize={base.quantize!r}"
        )
    base = base or _base_of(config, weights=weights)
    if config.gradient_checkpointing:
        refuse_uncheckpointable(base.model)
    elif config.epochs and is_offloaded(base.model):
        raise KvorumError(
            f"not all of {base.name} fits on the devices, and what is brought in for a pass would be kept for the "
            "gradients, until all of it is there; say --gradient-checkpointing, or --quantize 4bit or 8bit"
        )
    targets = find_targets(base.model, config.targets)
    if base.planned is None:
        if warm is not None:
            warm.refuse_misfit(base, targets, config)
        verify_packed(base.model)
    elif warm is not None:
        warm.refuse_other_shape(config)

    def tokens(asked: Sequence[Question]) -> list[EncodedQuestion]:
        return encode(asked, prompt, base.tokenizer, max_length=base.max_length)

    return Job(
        config=config,
        base=base,
        prompt=prompt,
        task=questions.task,
        train=questions.train,
        encoded=tokens(questions.train),
        evaluation=questions.evaluation,
        evaluation_encoded=tuple(tokens(one.test) for one in questions.evaluation),
        targets=targets,
        warm=warm,
        members=inputs.members(config),
        start_digest=warm.digest if warm else None,
    )


def read_inputs(config: FitConfig, given: Sequence[Task] = (), *, kept: bool = True) -> Inputs:
    """Read and check what a configuration names beside the base model.

    Raises `KvorumError` for what cannot be read, and a tracker that is not installed.
    """
    refuse_missing(config.track)
    prompt = Prompt(
        answer_format=config.answer_format,
        template=load_template(config.prompt) if config.prompt else default_template(config.answer_format),
        chat=config.chat,
    )
    if config.members > 1 and not config.diversity and not config.dropout:
        log.warning("diversity is empty and dropout 0: all %d members will be one and the same", config.members)
    questions = read_questions(config, given)
    warm = read_warm_start(config, out_of(config, questions.task) if kept else None)
    return Inputs(prompt=prompt, questions=questions, warm=warm)


def _base_of(config: FitConfig, *, weights: bool) -> BaseModel:
    asked: dict[str, Any] = {
        name: getattr(config, name) for name in ("revision", "device", "dtype", "quantize", "trust_remote_code")
    }
    return (
        load_base(config.model, **asked, device_map=config.device_map)
        if weights
        else planned_base(config.model, **asked)
    )


def out_of(config: FitConfig, task: Task) -> Path:
    """The run directory of a fit in one process; raises `KvorumError` for one on storage."""
    if config.out is not None and "://" in config.out:
        raise KvorumError(
            f"out is {config.out.partition('?')[0]}, and a fit in one process writes to this machine's own disks; "
            "with --ray or --members-per-worker it goes to storage"
        )
    return Path(config.out or Path("runs") / task.name)


def read_questions(config: FitConfig, given: Sequence[Task] = ()) -> Questions:
    """Load and check the questions that a configuration names; tasks that are handed over are not loaded again.

    Raises `KvorumError` for tasks that cannot be read, fitted or told apart.
    """
    known = {task.name: task for task in given}

    def read(name: str) -> Task:
        if name not in known:
            known[name] = load_task(name, data_root=config.data_root, skip_bad_rows=config.skip_bad_rows)
        return known[name]

    task = read(config.task)
    evaluation = [read(name) for name in config.evaluation_tasks]
    names = [one.name for one in evaluation]
    if double := {name for name in names if names.count(name) > 1}:
        raise KvorumError(f"two evaluation tasks are called '{double.pop()}'; rename one of the files")
    return Questions(
        task=task,
        train=_training_questions(task, config),
        evaluation=tuple(
            dataclasses.replace(one, test=limit(one.test, config.evaluate_limit, config.limit_to)) for one in evaluation
        ),
    )


def _training_questions(task: Task, config: FitConfig) -> tuple[Question, ...]:
    if not task.train:
        raise KvorumError(f"task '{task.name}' has no training split: it is for evaluation alone")
    train = limit(task.train, config.train_limit, config.limit_to)
    unknown = [question.id for question in train if question.answer is None]
    if not unknown:
        return train
    said = f"task '{task.name}': {len(unknown)} of {len(train)} training questions have no answer, the first is"
    if not config.skip_bad_rows or len(unknown) == len(train):
        raise KvorumError(
            f"{said} '{unknown[0]}'; there is nothing to learn from those: kvorum label asks for the answers that a "
            "file lacks, and --skip-bad-rows fits on the others"
        )
    log.warning("%s '%s'; left out", said, unknown[0])
    return tuple(question for question in train if question.answer is not None)


def digests_of_tests(tasks: Sequence[Task]) -> dict[str, str]:
    """By each task's name what `Predictions.questions_digest` is of predictions on all its test questions."""
    return {
        task.name: questions_digest(
            (q.id, q.question, q.choices, -1 if q.answer is None else q.answer, q.subject) for q in task.test
        )
        for task in tasks
    }


def _tokens_digest(encoded: Sequence[EncodedQuestion]) -> str:
    """What the tokenizer, and its chat template, made of questions: another when either has changed."""
    whole = hashlib.sha256()
    for one in encoded:
        whole.update(json.dumps([one.prompt, one.candidates]).encode())
    return whole.hexdigest()
