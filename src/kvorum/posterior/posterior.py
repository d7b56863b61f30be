"""A posterior over adapters, through the members drawn from it: what answers questions."""

import dataclasses
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from kvorum.adapters import AdapterStack
from kvorum.engine import (
    BaseModel,
    Item,
    Scorable,
    attached,
    build_pack,
    compiled,
    load_base,
    plan_packs,
    score_pack,
    verify_packed,
)
from kvorum.engine.score import Normalisation
from kvorum.errors import KvorumError
from kvorum.posterior.memory import within_memory
from kvorum.predictions import Predictions
from kvorum.run import Run
from kvorum.tasks import EncodedQuestion, Prompt, Question, Task, encode, load_task
from kvorum.tasks.sample import limit as limited

# Tokens in a pass, by kind of device, where none are asked for: what fills the caches, and what memory carries.
TOKEN_BUDGET = {"cpu": 2304, "cuda": 8192}
# From so many tokens on compiling pays, even where nothing is cached yet: see docs/performance.md.
COMPILE_FROM = {"cpu": 50_000, "cuda": 5_000_000}
# A forward pass alone saves about a third of what both passes save.
FORWARD_ALONE = 3
# Where nothing is learned: a GPU has room, since nothing is kept for a backward pass; the logits of more tokens would
# leave a CPU's caches.
SCORING_BUDGET = {"cpu": 1536, "cuda": 32_768}

Compile = Literal["auto", "on", "off"]

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Posterior:
    """A base model, the adapters of the members, and how questions are put to them."""

    base: BaseModel
    stack: AdapterStack
    prompt: Prompt
    normalisation: Normalisation = "sum"
    """Text format only: a candidate's log-likelihood is the sum over its tokens, or their mean."""
    token_budget: int | None = None
    """Most tokens in a pass; None = by device."""
    compile: Compile = "auto"
    """Whether to run the model's layers compiled; auto: where enough tokens follow."""
    fitted_on: frozenset[tuple[str, tuple[str, ...]]] = frozenset()
    """Question and choices of what it was fitted on, where known."""
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Of the run: model, seed, epoch, ...; they go into every prediction's metadata."""

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
        probs, rest = self._score(encoded[:limit] if encoded is not None else self.encode(questions), progress)
        members = [self.stack.members[i] for i in self.stack.active]
        diverged = dict(self.stack.diverged)
        finite = np.asarray(np.isfinite(probs).all((1, 2)) & np.isfinite(rest).all(1))
        if not finite.any():
            raise KvorumError("no member's probabilities are finite, so nothing can answer; fit with a lower --lr")
        if not finite.all():
            # Its last step went too far, and no gradient has been taken since that would have shown it.
            lost = [member for member, fine in zip(members, finite, strict=True) if not fine]
            diverged |= dict.fromkeys(lost, "its predictions are not finite")
            log.warning("members %s are left out: their predictions are not finite", lost)
            probs, rest = probs[finite], rest[finite]
        source = {"task": task.name, "split": task.test_split, "source": task.source} if isinstance(task, Task) else {}
        seen = sum((q.question, q.choices) in self.fitted_on for q in questions)
        return Predictions(
            probs=probs,
            rest=rest,
            answers=np.array([-1 if q.answer is None else q.answer for q in questions], dtype=np.int64),
            ids=tuple(q.id for q in questions),
            subjects=tuple(q.subject for q in questions),
            questions=tuple(q.question for q in questions),
            choices=tuple(q.choices for q in questions),
            facts=self.facts
            | source
            | {
                "members": [member for member in members if member not in diverged],
                "diverged": {str(member): why for member, why in diverged.items()},
                "answer_format": self.prompt.answer_format,
                "normalisation": self.normalisation,
                "trained_on": seen > 0,
                "trained_on_questions": seen,
            },
        )

    def encode(self, questions: Sequence[Question]) -> list[EncodedQuestion]:
        """The tokens of questions as this posterior puts them."""
        return encode(questions, self.prompt, self.base.tokenizer, max_length=self.base.max_length)

    def ask(self, question: str, choices: Sequence[str], *, subject: str = "") -> Predictions:
        """Every member's probabilities for one question: predictions with one example."""
        return self.predict(
            [Question(id="asked", question=question, choices=tuple(choices), answer=None, subject=subject)]
        )

    @torch.no_grad()
    def _score(
        self, encoded: Sequence[EncodedQuestion], progress: Callable[[int, int], None] | None
    ) -> tuple[np.ndarray, np.ndarray]:
        active = self.stack.active
        if not active:
            raise KvorumError("every member diverged, so nothing can answer; fit again with a lower --lr")
        # Before any fitting all members are the base model: one answer stands for all.
        members = active[:1] if self.stack.untouched else active
        width = max(len(q.candidates) for q in encoded)
        probs = np.zeros((len(members), len(encoded), width))
        rest = np.zeros((len(members), len(encoded)))
        each = [Item(0, question).tokens() for question in encoded]

        def attempt(budget: int) -> None:
            done = 0
            for rows, some in _passes(encoded, len(members), budget):
                scores = score_pack(
                    attachment,
                    build_pack([Item(members[i], encoded[row]) for i in some for row in rows]),
                    answer_format=self.prompt.answer_format,
                    normalisation=self.normalisation,
                )
                here, shape = slice(some.start, some.stop), (len(some), len(rows))
                p = scores.log_probs.double().exp().cpu().numpy().reshape(*shape, -1)
                probs[here, rows, : p.shape[-1]] = p
                rest[here, rows] = scores.rest.double().cpu().numpy().reshape(shape)
                if some.stop == len(members):
                    done += len(rows)
                    if progress:
                        progress(done, len(encoded))

        with (
            attached(self.base.model, self.stack.to(self.base.device)) as attachment,
            compiled(
                attachment,
                [Item(members[0], question) for question in encoded[:2]],
                self.prompt.answer_format,
                wanted=compile_pays(self.compile, self.base.device, len(members) * sum(each) // FORWARD_ALONE),
            ),
        ):
            budget = self.token_budget or SCORING_BUDGET.get(self.base.device.type, SCORING_BUDGET["cpu"])
            within_memory(attempt, budget, longest=max(each))
        copies = len(active) // len(members)
        return np.repeat(probs, copies, axis=0), np.repeat(rest, copies, axis=0)


def _passes(encoded: Sequence[Scorable], members: int, budget: int) -> Iterator[tuple[list[int], range]]:
    """Which questions and which of the members go through the model together: all members, where they fit.

    Questions of alike lengths go together, so that attention pads little; equal ones by index, to be repeatable.
    """
    order = sorted(range(len(encoded)), key=lambda i: (Item(0, encoded[i]).tokens(), i))
    each = [Item(0, encoded[i]) for i in order]
    for run in plan_packs(each, max(1, budget // members)):
        at_once = max(1, budget // sum(each[i].tokens() for i in run))
        for first in range(0, members, at_once):
            yield [order[i] for i in run], range(first, min(first + at_once, members))


def token_budget(device: torch.device, asked: int | None) -> int:
    """How many tokens go into a pass that keeps what a backward pass needs."""
    return asked or TOKEN_BUDGET.get(device.type, TOKEN_BUDGET["cpu"])


def compile_pays(asked: Compile, device: torch.device, tokens: int) -> bool:
    """Whether to run the layers compiled, where so many tokens are yet to go forward and backward through them."""
    return asked == "on" or (asked == "auto" and tokens >= COMPILE_FROM.get(device.type, COMPILE_FROM["cpu"]))


def load(
    run: str | Path | Run, epoch: int | str = "last", *, device: str = "auto", trust_remote_code: bool = False
) -> Posterior:
    """The posterior of a run, after an epoch.

    `trust_remote_code` runs Python code that comes with the base model, which a run cannot ask for by itself.

    Raises `KvorumError` where there is no run or no such epoch, where the base model is no longer the one that the
    run was fitted on, or where a file is damaged.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    (number,) = run.resolve_epochs(str(epoch))[-1:]
    config = run.config
    stack = AdapterStack.load(run.checked(run.adapters_file(number)))
    if config.trust_remote_code and not trust_remote_code:
        raise KvorumError(
            f"{run.path}: its base model, {config.model}, brings Python code of its own; where you have read and trust "
            "it, say so: --trust-remote-code"
        )
    base = load_base(
        config.model,
        revision=config.revision,
        device=device if device != "auto" else config.device,
        dtype=config.dtype,
        trust_remote_code=trust_remote_code,
    )
    if base.revision != run.facts.get("base_revision"):
        raise KvorumError(
            f"{run.path} was fitted on {config.model} {run.facts.get('base_revision')}, but what is there now is "
            f"{base.revision or 'unknown'}"
        )
    verify_packed(base.model)
    return from_run(run, base, stack, number)


def from_run(
    run: Run,
    base: BaseModel,
    stack: AdapterStack,
    epoch: int,
    fitted_on: frozenset[tuple[str, tuple[str, ...]]] | None = None,
) -> Posterior:
    """The posterior of a run whose base model and stack are loaded already."""
    config = run.config
    if fitted_on is None:
        fitted_on = _questions_fitted(run)
    return Posterior(
        base=base,
        stack=stack,
        prompt=Prompt(answer_format=config.answer_format, template=template_of(run), chat=config.chat),
        normalisation=config.normalisation,
        token_budget=config.token_budget,
        compile=config.compile,
        fitted_on=fitted_on,
        facts=prediction_facts(run.facts, epoch),
    )


def template_of(run: Run) -> str:
    """The template of a run's prompts; raises `KvorumError` where its facts hold none."""
    template = run.facts.get("prompt_template")
    if not isinstance(template, str):
        raise KvorumError(f"{run.path / 'config.yaml'}: facts: there is no 'prompt_template'")
    return template


def prediction_facts(facts: dict[str, Any], epoch: int | None) -> dict[str, Any]:
    """What a prediction file says of the run that it comes from."""
    names = ("kvorum", "model", "base_revision", "seed", "prompt_template", "chat")
    return {name: facts.get(name) for name in names} | {"fitted_on": facts.get("task"), "epoch": epoch}


def _questions_fitted(run: Run) -> frozenset[tuple[str, tuple[str, ...]]]:
    config = run.config
    try:
        task = load_task(config.task, data_root=config.data_root, skip_bad_rows=config.skip_bad_rows)
    except KvorumError as error:
        log.warning("what the run was fitted on cannot be read again, so overlap with it goes unnoticed: %s", error)
        return frozenset()
    return frozenset((q.question, q.choices) for q in limited(task.train, config.train_limit, config.limit_to))
