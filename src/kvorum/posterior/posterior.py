"""A posterior over adapters, through the members drawn from it: what answers questions."""

import dataclasses
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from kvorum.adapters import AdapterStack
from kvorum.engine import BaseModel, Item, load_base, verify_packed
from kvorum.errors import KvorumError
from kvorum.posterior.ensemble import Ensemble
from kvorum.posterior.scoring import FORWARD_ALONE, Scorer, compile_pays, scoring
from kvorum.predictions import Predictions
from kvorum.run import Run, run_and_epoch
from kvorum.tasks import EncodedQuestion, Prompt, Question, Task, encode, load_task
from kvorum.tasks.digest import digest
from kvorum.tasks.sample import limit as limited

# Tokens in a pass, by kind of device, where none are asked for: what fills the caches, and what memory carries.
TOKEN_BUDGET = {"cpu": 2304, "cuda": 8192}

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Posterior(Ensemble):
    """A base model, the adapters of the members, and how questions are put to them."""

    base: BaseModel

    def predict(
        self,
        task: Task | Sequence[Question] | str | Path,
        *,
        limit: int | None = None,
        encoded: Sequence[EncodedQuestion] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Predictions:
        """Every member's probabilities for the questions of a task's test split, or for given questions.

        `limit` takes the first N. `encoded` is what `encode` makes of the questions, where that is done already.
        `progress` is told questions done and questions in all. Members that diverged are left out.

        Raises `KvorumError` for a question longer than the model's context, and if all members diverged.
        """
        task = load_task(task) if isinstance(task, str | Path) else task
        questions = tuple(task.test if isinstance(task, Task) else task)[:limit]
        if not questions:
            raise KvorumError("there are no questions to answer")
        encoded = encoded[:limit] if encoded is not None else self.encode(questions)
        with self.scoring(encoded) as scorer:
            scores = scorer(encoded, progress)
        return self.predictions(questions, scores, source_facts(task) if isinstance(task, Task) else {})

    def encode(self, questions: Sequence[Question]) -> list[EncodedQuestion]:
        """The tokens of questions as this posterior puts them."""
        return encode(questions, self.prompt, self.base.tokenizer, max_length=self.base.max_length)

    def ask(self, question: str, choices: Sequence[str], *, subject: str = "") -> Predictions:
        """Every member's probabilities for one question: predictions with one example."""
        return self.predict(
            [Question(id="asked", question=question, choices=tuple(choices), answer=None, subject=subject)]
        )

    @contextmanager
    def scoring(self, encoded: Sequence[EncodedQuestion], *, endless: bool = False) -> Iterator[Scorer]:
        """What scores questions inside the block: the model has its adapters on, and is compiled if that pays.

        `encoded`: the questions that will be scored; where there is no end of them, some to try it on.
        """
        voices = 1 if self.stack.untouched else len(self.stack.active)
        tokens = voices * sum(Item(0, question).tokens() for question in encoded) // FORWARD_ALONE
        pays = endless or compile_pays(self.compile, self.base.device, tokens)
        with scoring(
            self.base,
            self.stack,
            answer_format=self.prompt.answer_format,
            normalisation=self.normalisation,
            token_budget=self.token_budget,
            trial=encoded,
            compile=pays and self.compile != "off",
        ) as scorer:
            yield scorer


def token_budget(device: torch.device, asked: int | None) -> int:
    """How many tokens go into a pass that keeps what a backward pass needs."""
    return asked or TOKEN_BUDGET.get(device.type, TOKEN_BUDGET["cpu"])


def load(
    run: str | Path | Run,
    epoch: int | str = "last",
    *,
    device: str = "auto",
    trust_remote_code: bool = False,
    fitted_on: frozenset[tuple[str, tuple[str, ...]]] | None = None,
) -> Posterior:
    """The posterior of a run, after an epoch.

    `fitted_on` is what it was fitted on, question and choices, which is read again where it is not given.
    `trust_remote_code` runs Python code that comes with the base model, which a run cannot ask for by itself.

    Raises `KvorumError` where there is no run or no such epoch, where the base model is no longer the one that the
    run was fitted on, or where a file is damaged.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    (number,) = run.resolve_epochs(str(epoch))[-1:]
    config = run.config
    stack = AdapterStack.load(run.checked(run.adapters_file(number)))
    refuse_untrusted(run, trust_remote_code)
    base = load_base(
        config.model,
        revision=config.revision,
        device=device if device != "auto" else config.device,
        dtype=config.dtype,
        quantize=config.quantize,
        # A device that is named here is where all of it goes.
        device_map=config.device_map if device == "auto" else "off",
        trust_remote_code=trust_remote_code,
    )
    refuse_other_base(base, run.path, run.facts.get("base_revision"))
    verify_packed(base.model)
    return from_run(run, base, stack, number, fitted_on)


def refuse_untrusted(run: Run, trust_remote_code: bool) -> None:
    """Raise `KvorumError` where a run's base model brings code of its own, and nobody has said that it is trusted."""
    if run.config.trust_remote_code and not trust_remote_code:
        raise KvorumError(
            f"{run.path}: its base model, {run.config.model}, brings Python code of its own; where you have read and "
            "trust it, say so: --trust-remote-code"
        )


def refuse_other_base(base: BaseModel, run: str | Path, revision: str | None) -> None:
    """Raise `KvorumError` where a base model is not of the revision that a run was fitted on."""
    if base.revision != revision:
        raise KvorumError(
            f"{run} was fitted on {base.name} {revision}, but what is there now is {base.revision or 'unknown'}"
        )


def from_run(
    run: Run,
    base: BaseModel,
    stack: AdapterStack,
    epoch: int,
    fitted_on: frozenset[tuple[str, tuple[str, ...]]] | None = None,
) -> Posterior:
    """The posterior of a run whose base model and stack are loaded already."""
    return on_base(ensemble_of(run, stack, epoch, fitted_on), base)


def ensemble_of(
    run: Run, stack: AdapterStack, epoch: int, fitted_on: frozenset[tuple[str, tuple[str, ...]]] | None = None
) -> Ensemble:
    """The ensemble of a run whose stack is loaded already."""
    config = run.config
    return Ensemble(
        stack=stack,
        prompt=Prompt(answer_format=config.answer_format, template=template_of(run), chat=config.chat),
        normalisation=config.normalisation,
        token_budget=config.token_budget,
        compile=config.compile,
        fitted_on=questions_fitted(run) if fitted_on is None else fitted_on,
        facts=prediction_facts(run.facts, epoch),
    )


def on_base(ensemble: Ensemble, base: BaseModel) -> Posterior:
    """The posterior that an ensemble is on its base model."""
    return Posterior(base=base, **vars(ensemble))


def template_of(run: Run) -> str:
    """The template of a run's prompts; raises `KvorumError` where its facts hold none."""
    template = run.facts.get("prompt_template")
    if not isinstance(template, str):
        raise KvorumError(f"{run.path / 'config.yaml'}: facts: there is no 'prompt_template'")
    return template


def source_facts(task: Task) -> dict[str, Any]:
    """What a prediction file says of the task that it is on."""
    return {"task": task.name, "split": task.test_split, "source": task.source}


def prediction_facts(facts: dict[str, Any], epoch: int | None) -> dict[str, Any]:
    """What a prediction file says of the run that it comes from."""
    names = ("kvorum", "model", "base_revision", "seed", "prompt_template", "chat")
    return {name: facts.get(name) for name in names} | {"fitted_on": facts.get("task"), "epoch": epoch}


def questions_fitted(run: Run, _seen: frozenset[Path] = frozenset()) -> frozenset[tuple[str, tuple[str, ...]]]:
    """Question and choices of what a run was fitted on, and of what that run was that it went on from.

    Those that cannot be read again are missing, with a warning, and there is one where they have changed since.
    """
    config = run.config
    try:
        task = load_task(config.task, data_root=config.data_root, skip_bad_rows=config.skip_bad_rows)
    except KvorumError as error:
        log.warning("what the run was fitted on cannot be read again, so overlap with it goes unnoticed: %s", error)
        return frozenset()
    train = [q for q in limited(task.train, config.train_limit, config.limit_to) if q.answer is not None]
    if run.facts.get("train_digest") not in (None, digest(train)):
        log.warning(
            "%s: the questions of %s are no longer those that it was fitted on, so overlap with them may go unnoticed",
            run.path,
            config.task,
        )
    fitted = frozenset((q.question, q.choices) for q in train)
    if config.warm_start is None:
        return fitted
    path = run_and_epoch(config.warm_start)[0].resolve()
    seen = _seen | {run.path.resolve()}
    try:
        # Two runs may have gone on from each other in turn.
        return fitted if path in seen else fitted | questions_fitted(Run.open(path), seen)
    except KvorumError as error:
        log.warning("what %s started from cannot be read again, so overlap with it goes unnoticed: %s", run.path, error)
        return fitted
