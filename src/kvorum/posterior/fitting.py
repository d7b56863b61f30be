"""The fitting loop: all members, step after step, saved and scored after each epoch."""

import dataclasses
import logging
import time
from typing import Any

import numpy as np
from torch import Tensor

from kvorum.adapters import AdapterStack, Attachment, Stream, generator_seed
from kvorum.engine import Item, attached, checkpointed, compiled
from kvorum.errors import KvorumError
from kvorum.posterior.job import Job, digests_of_tests
from kvorum.posterior.memory import within_memory
from kvorum.posterior.optimizer import MemberAdamW
from kvorum.posterior.posterior import Posterior, from_run, prediction_facts
from kvorum.posterior.priors import PRIORS
from kvorum.posterior.progress import Progress
from kvorum.posterior.saving import difference, load_point, save_point
from kvorum.posterior.schedule import learning_rate
from kvorum.posterior.scoring import NobodyAnswers, compile_pays
from kvorum.posterior.step import take_step
from kvorum.posterior.stop import Stopped, StopRequest
from kvorum.predictions import Predictions
from kvorum.run import Point, Run
from kvorum.tasks import EncodedQuestion, Task
from kvorum.uncertainty.diversity import diversity

# Steps between looks at what a GPU has computed; each look waits for it.
LOOK_EVERY = {"cpu": 1, "cuda": 10}

NOT_THE_SAME = 0.01
"""How far adapters that are computed again may be from those saved, of the largest value, and still be the same fit."""

log = logging.getLogger(__name__)


class Fitting:
    """A fit under way: the stack, its optimizer, and where they are saved."""

    def __init__(
        self,
        job: Job,
        run: Run | None,
        progress: Progress,
        stop: StopRequest | None = None,
        *,
        again: bool = False,
    ) -> None:
        self.job = job
        self.config = job.config
        self.run = run
        self.progress = progress
        self.stop = stop or StopRequest()
        self.digests = digests_of_tests(job.evaluation)
        before = job.warm.fitted_on if job.warm else frozenset()
        self.fitted_on = before | frozenset((q.question, q.choices) for q in job.train)
        self.token_budget = job.token_budget
        self.longest = max(Item(0, question).tokens() for question in job.encoded)
        self.again = again
        """Whether it begins at the start whatever is saved, to fill gaps; no point within an epoch is saved then."""
        self.point = Point(0)
        """What is behind the stack: epochs, and steps of the next."""
        self.saved_at = time.monotonic()
        stack, moments = job.start(), None
        if run is not None:
            newest = run.points[-1] if run.points else Point(0)
            run.cut_log(max(newest, Point(run.newest_epoch)))
            if run.points and not again:
                self.point = self._resumable(run)
                stack, moments = load_point(run, job, self.point)
                log.info("going on after %s, to epoch %d", self.point, self.config.epochs)
        self.stack = stack.beside(job.base.model)
        self.optimizer = MemberAdamW(self.stack, clip=self.config.clip)
        if moments:
            self.optimizer.load_state(moments)

    def _resumable(self, run: Run) -> Point:
        """The newest point to go on from; one within an epoch that is no longer asked for waits until it is."""
        point = [point for point in run.points if not point.step or point.epoch < self.config.epochs][-1]
        if point < run.points[-1] and point.epoch < self.config.epochs:
            raise KvorumError(
                f"{run.path} is fitted to {run.points[-1]}, and cannot go on to epoch {self.config.epochs} alone; ask "
                f"for --epochs {run.points[-1].epoch + 1} or more"
            )
        return point

    def run_all(self, *, until: int | None = None) -> Posterior:
        """Every epoch that is still to do, or those up to one, and every score that is missing."""
        last = self.config.epochs if until is None else until
        self.progress.begin(self.job, *self.point)
        with self.progress:
            if self.run is not None:
                self._score_saved(self.run)
                if self.point == (0, 0) and not self.run.holds(self.run.adapters_file(0)):
                    self._save(self.run)
            while self.point.epoch < last:
                self._fit_epoch(self.point.epoch + 1)
                self.point = Point(self.point.epoch + 1)
                if self.run is not None:
                    self._save(self.run)
        return self._posterior()

    def _fit_epoch(self, epoch: int) -> None:
        for parameter in self.stack.parameters():
            parameter.requires_grad_(True)
        if not self.stack.active:
            self._pass_over(epoch)
            return
        look_every = LOOK_EVERY.get(self.job.base.device.type, 10)
        last = self.job.steps_per_epoch - 1
        orders = [self.job.order(member, epoch) for member in self.stack.members]
        unseen: list[dict[str, Any]] = []
        # By the whole fit, so that one that was stopped and goes on decides alike.
        wanted = compile_pays(self.config.compile, self.job.base.device, self.config.epochs * self.job.tokens_per_epoch)
        trial = [Item(self.stack.active[0], question) for question in self.job.encoded[:2]]
        with (
            attached(self.job.base.model, self.stack, dropout=self.config.dropout) as attachment,
            checkpointed(attachment, wanted=self.config.gradient_checkpointing),
            compiled(attachment, trial, self.config.answer_format, wanted=wanted),
        ):
            for step in range(self.point.step, last + 1):
                batches = [self._batch(i, orders[i], epoch, step) for i in self.stack.active]
                unseen.append({"epoch": epoch, "step": step, **self._step(attachment, batches, epoch, step)})
                to_save = step < last and self._due()
                if to_save and self.again:
                    self._leave_if_asked()
                    to_save = False
                if len(unseen) == look_every or step == last or to_save:
                    self._look(unseen)
                    unseen = []
                    if not self.stack.active:
                        self._pass_over(epoch, step + 1)
                        return
                if to_save and self.run is not None:
                    self.point = Point(epoch - 1, step + 1)
                    save_point(self.run, self.job, self.point, self.stack, self.optimizer)
                    self.saved_at = time.monotonic()
                    self._leave_if_asked()

    def _pass_over(self, epoch: int, first: int = 0) -> None:
        """The rest of an epoch that no member is left to take: its lines in the log say nothing."""
        nothing = [None] * len(self.stack.members)
        silent = dict.fromkeys(("loss", "nll", "penalty", "gradient_norm"), nothing)
        lines = [
            {"epoch": epoch, "step": step, "lr": self._learning_rate(epoch, step), "tokens": 0, **silent}
            for step in range(first, self.job.steps_per_epoch)
        ]
        if lines and self.run is not None:
            self._append_log(self.run, lines)

    def _due(self) -> bool:
        """Whether to save within the epoch: since it is time to, or since a stop was asked for."""
        return self.stop.asked is not None or time.monotonic() - self.saved_at >= 60 * self.config.save_minutes

    def _leave_if_asked(self) -> None:
        """Stop here, where nothing would be lost."""
        if self.stop.asked is not None and self.run is not None:
            if self.again:
                raise Stopped("stopped before the repair was done; with --repair it begins again", self.stop.asked)
            raise Stopped(f"stopped after {self.point}, and everything up to there is saved", self.stop.asked)

    def _step(self, attachment: Attachment, batches: list[list[Item]], epoch: int, step: int) -> dict[str, Any]:
        """One optimizer step of every active member; what it was like, its tensors still where they were computed."""
        config, lr = self.config, self._learning_rate(epoch, step)

        def attempt(budget: int) -> dict[str, Tensor]:
            self.optimizer.zero_grad()
            return take_step(
                attachment,
                self.optimizer,
                batches,
                prior=PRIORS[config.prior],
                l2=config.l2,
                lr=lr,
                answer_format=config.answer_format,
                normalisation=config.normalisation,
                token_budget=budget,
            )

        taken, self.token_budget = within_memory(attempt, self.token_budget, longest=self.longest)
        return {"lr": lr, "tokens": sum(item.tokens() for batch in batches for item in batch), **taken}

    def _learning_rate(self, epoch: int, step: int) -> float:
        config, steps = self.config, self.job.steps_per_epoch
        return learning_rate(
            (epoch - 1) * steps + step,
            config.epochs * steps,
            lr=config.lr,
            schedule=config.schedule,
            warmup=config.warmup,
        )

    def _batch(self, position: int, order: np.ndarray, epoch: int, step: int) -> list[Item]:
        config, member = self.config, self.stack.members[position]
        chosen = order[step * config.batch_size : (step + 1) * config.batch_size]
        if not config.dropout:
            return [Item(position, self.job.encoded[i]) for i in chosen]
        return [
            Item(
                position,
                self.job.encoded[i],
                generator_seed(config.seed, Stream.DROPOUT, member, epoch, step, int(i)),
            )
            for i in chosen
        ]

    def _look(self, steps: list[dict[str, Any]]) -> None:
        """Log the steps since the last look, and name the members that diverged in them."""
        lines = [{k: _finite(v) if isinstance(v, Tensor) else v for k, v in step.items()} for step in steps]
        if self.run is not None:
            self._append_log(self.run, lines)
        self.progress.steps(lines)
        active = self.optimizer.active.tolist()
        last = steps[-1]
        lost = {
            member: f"epoch {last['epoch']}, step {last['step']}"
            for i, member in enumerate(self.stack.members)
            if not active[i] and member not in self.stack.diverged
        }
        if lost:
            self.stack = dataclasses.replace(self.stack, diverged={**self.stack.diverged, **lost})
            for member, where in lost.items():
                log.warning("member %d diverged by %s: frozen, and left out from here on", member, where)
        if not self.stack.active and self.job.whole:
            raise KvorumError(
                f"every member diverged by epoch {last['epoch']}, step {last['step']} (loss or gradient not finite); "
                f"lower --lr (it is {self.config.lr}), or clip gradients with --clip"
            )

    def _append_log(self, run: Run, lines: list[dict[str, Any]]) -> None:
        """Log steps, unless they are there already: those of a fit that is done again."""
        behind = (run.log[-1]["epoch"], run.log[-1]["step"]) if run.log else (0, 0)
        run.append_log([line for line in lines if (line["epoch"], line["step"]) > behind])

    def _save(self, run: Run) -> None:
        """Save the epoch and score it."""
        if self.again and run.holds(run.adapters_file(self.point.epoch)):
            self._compare(run)
        save_point(run, self.job, self.point, self.stack, self.optimizer)
        self.saved_at = time.monotonic()
        self._leave_if_asked()
        self._score(run, self.point.epoch, self._posterior())

    def _compare(self, run: Run) -> None:
        """Hold what was computed again against what is saved of the same epoch: it should be the very same."""
        apart = difference(run, self.point.epoch, self.stack)
        if apart > NOT_THE_SAME:
            raise KvorumError(
                f"{run.path}: epoch {self.point.epoch}, computed again, is not what is saved (values differ by "
                f"{apart:.1g} of the largest): this is another fit, and what is lost cannot be computed by it"
            )
        if apart:
            log.warning(
                "epoch %d, computed again, differs from what is saved by %.1g of the largest value: the device, a "
                "version, the token budget or compilation is other than it was, and rounds otherwise",
                self.point.epoch,
                apart,
            )

    def _score_saved(self, run: Run) -> None:
        """Score what a stop, or a task asked for since, left without a score."""
        for epoch in run.epochs:
            if epoch <= self.point.epoch and self._missing(run, epoch):
                stack = AdapterStack.load(run.checked(run.adapters_file(epoch)))
                self._score(run, epoch, from_run(run, self.job.base, stack, epoch, self.fitted_on))

    def _missing(self, run: Run, epoch: int) -> list[tuple[Task, list[EncodedQuestion]]]:
        """Tasks without predictions on just these questions: none yet, or on those that were asked for before."""
        both = zip(self.job.evaluation, self.job.evaluation_encoded, strict=True)
        return [(task, encoded) for task, encoded in both if not self._scored(run, epoch, task)]

    def _scored(self, run: Run, epoch: int, task: Task) -> bool:
        if not run.scored(epoch, task.name):
            return False
        if run.questions_digest(epoch, task.name) == self.digests[task.name]:
            return True
        log.info("%s at epoch %d was scored on other questions, and is scored again", task.name, epoch)
        return False

    def _score(self, run: Run, epoch: int, posterior: Posterior) -> None:
        for task, encoded in self._missing(run, epoch):

            def scored(done: int, total: int, name: str = task.name) -> None:
                self.progress.scored(epoch, name, done, total)
                if done < total:
                    self._leave_if_asked()

            self._leave_if_asked()
            try:
                predictions = posterior.predict(task, encoded=encoded, progress=scored)
            except NobodyAnswers as error:
                if self.job.whole:
                    raise
                log.warning("%s at epoch %d: %s", task.name, epoch, error)
                continue
            run.save_predictions(epoch, task.name, predictions)
            self.progress.numbers(epoch, task.name, run.numbers(epoch, task.name))
            if task is self.job.evaluation[0] and 0 < epoch == self.config.epochs:
                _warn_of_collapse(predictions)

    def _posterior(self) -> Posterior:
        job = self.job
        facts = self.run.facts if self.run is not None else job.facts()
        return Posterior(
            base=job.base,
            stack=self.stack.beside(job.base.model),
            prompt=job.prompt,
            normalisation=self.config.normalisation,
            token_budget=self.config.token_budget,
            compile=self.config.compile,
            fitted_on=self.fitted_on,
            facts=prediction_facts(facts, self.point.epoch),
        )


def _warn_of_collapse(predictions: Predictions) -> None:
    found = diversity(predictions.probs, predictions.rest, resamples=1)
    if found is not None and found["collapsed"]:
        log.warning(
            "the members have collapsed: two of them differ by %.2g nats (mean KL), so mutual information says "
            "nothing; more --diversity, a higher --lr or more --epochs set them apart",
            found["kl"]["value"],
        )


def _finite(values: Tensor) -> list[float | None]:
    """For JSON, which knows no NaN."""
    return [value if np.isfinite(value) else None for value in values.tolist()]
