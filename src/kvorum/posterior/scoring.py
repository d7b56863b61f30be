"""Scoring questions with all members: the model wrapped and compiled once, then as many passes as one likes."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float64

from kvorum.adapters import AdapterStack, Attachment, first_device
from kvorum.engine import (
    BaseModel,
    CandidateScores,
    Item,
    Scorable,
    attached,
    build_pack,
    compiled,
    plan_packs,
    score_pack,
)
from kvorum.engine.score import AnswerFormat, Normalisation
from kvorum.errors import KvorumError
from kvorum.posterior.hidden import HiddenMeans
from kvorum.posterior.memory import within_memory

# From so many tokens on compiling pays, even where nothing is cached yet: see docs/performance.md.
COMPILE_FROM = {"cpu": 50_000, "cuda": 5_000_000}
# A forward pass alone saves about a third of what both passes save.
FORWARD_ALONE = 3
# Where nothing is learned: a GPU has room, since nothing is kept for a backward pass; the logits of more tokens would
# leave a CPU's caches.
SCORING_BUDGET = {"cpu": 1536, "cuda": 32_768}


class NobodyAnswers(KvorumError):
    """All members diverged."""


Compile = Literal["auto", "on", "off"]
Probabilities = tuple[Float64[np.ndarray, "member example candidate"], Float64[np.ndarray, "member example"]]


class Scorer:
    """A stack on its model, ready to score; made by `scoring`, and good for one thread at a time inside its block."""

    def __init__(
        self,
        attachment: Attachment,
        *,
        answer_format: AnswerFormat,
        normalisation: Normalisation,
        token_budget: int | None,
    ) -> None:
        self.attachment = attachment
        self.answer_format: AnswerFormat = answer_format
        self.normalisation: Normalisation = normalisation
        stack, device = attachment.stack, first_device(attachment.model)
        self.token_budget = scoring_budget(device, token_budget)
        """Most tokens in a pass, of all members together; halved where a GPU's memory does not hold them."""
        # Before any fitting all members are the base model: one answer stands for all.
        self.members = stack.active[:1] if stack.untouched else stack.active
        """Positions along the member axis of those that are computed."""
        self.copies = len(stack.active) // len(self.members)

    def tokens(self, question: Scorable) -> int:
        """How many tokens a question takes in a pass, of all members together."""
        return len(self.members) * Item(0, question).tokens()

    def __call__(
        self,
        encoded: Sequence[Scorable],
        progress: Callable[[int, int], None] | None = None,
        *,
        hidden: HiddenMeans | None = None,
    ) -> Probabilities:
        """Each active member's probabilities of the candidates, and what is left as rest.

        `progress` is told questions done and questions in all. `hidden` is given the last hidden state at the end of
        each prompt, too, from the same passes.
        """
        probs = np.zeros((len(self.members), len(encoded), _width(encoded)))
        rest = np.zeros((len(self.members), len(encoded)))

        def keep(scores: CandidateScores, members: slice, rows: list[int]) -> None:
            shape = (members.stop - members.start, len(rows))
            p = scores.log_probs.double().exp().cpu().numpy().reshape(*shape, -1)
            probs[members, rows, : p.shape[-1]] = p
            rest[members, rows] = scores.rest.double().cpu().numpy().reshape(shape)
            if hidden is not None:
                assert scores.hidden is not None
                states = scores.hidden.float().cpu().numpy().reshape(*shape, -1)
                hidden.add(np.repeat(states, self.copies, axis=0), members.start, rows)

        self._each_pass(encoded, keep, progress, hidden=hidden is not None)
        return np.repeat(probs, self.copies, axis=0), np.repeat(rest, self.copies, axis=0)

    def log_likelihoods(
        self, encoded: Sequence[Scorable], progress: Callable[[int, int], None] | None = None
    ) -> tuple[Float64[np.ndarray, "member example candidate"], Bool[np.ndarray, "member example candidate"]]:
        """Each active member's log-likelihood of each candidate's tokens after its prompt, in nats, by either format.

        Also whether those tokens are what the member would itself go on with, greedily. -inf, and false, beyond a
        question's last candidate.
        """
        found = np.full((len(self.members), len(encoded), _width(encoded)), -np.inf)
        greedy = np.zeros(found.shape, dtype=bool)

        def keep(scores: CandidateScores, members: slice, rows: list[int]) -> None:
            assert scores.greedy is not None
            shape = (members.stop - members.start, len(rows), scores.greedy.shape[-1])
            found[members, rows, : shape[-1]] = scores.log_likelihoods.double().cpu().numpy().reshape(shape)
            greedy[members, rows, : shape[-1]] = scores.greedy.cpu().numpy().reshape(shape)

        self._each_pass(encoded, keep, progress, greedy=True)
        return np.repeat(found, self.copies, axis=0), np.repeat(greedy, self.copies, axis=0)

    @torch.no_grad()
    def _each_pass(
        self,
        encoded: Sequence[Scorable],
        keep: Callable[[CandidateScores, slice, list[int]], None],
        progress: Callable[[int, int], None] | None,
        *,
        greedy: bool = False,
        hidden: bool = False,
    ) -> None:
        """Put questions to the members, pass by pass; `keep` gets the scores, whose they are and of which questions."""

        def attempt(budget: int) -> None:
            done = 0
            for rows, some in passes(encoded, len(self.members), budget):
                scores = score_pack(
                    self.attachment,
                    build_pack([Item(self.members[i], encoded[row]) for i in some for row in rows]),
                    answer_format=self.answer_format,
                    normalisation=self.normalisation,
                    greedy=greedy,
                    hidden=hidden,
                )
                keep(scores, slice(some.start, some.stop), rows)
                if some.stop == len(self.members):
                    done += len(rows)
                    if progress:
                        progress(done, len(encoded))

        longest = max(Item(0, question).tokens() for question in encoded)
        _, self.token_budget = within_memory(attempt, self.token_budget, longest=longest)


@contextmanager
def scoring(
    base: BaseModel,
    stack: AdapterStack,
    *,
    answer_format: AnswerFormat,
    normalisation: Normalisation,
    token_budget: int | None,
    trial: Sequence[Scorable],
    compile: bool,
) -> Iterator[Scorer]:
    """A stack attached to its model, and the model's layers compiled where that is wanted and works on some questions.

    Raises `KvorumError` if all members diverged.
    """
    if not stack.active:
        raise NobodyAnswers("every member diverged, so nothing can answer; fit again with a lower --lr")
    with attached(base.model, stack.beside(base.model)) as attachment:
        scorer = Scorer(attachment, answer_format=answer_format, normalisation=normalisation, token_budget=token_budget)
        items = [Item(scorer.members[0], question) for question in trial[:2]]
        with torch.no_grad(), compiled(attachment, items, answer_format, wanted=compile):
            yield scorer


def scoring_budget(device: torch.device, asked: int | None) -> int:
    """How many tokens go into a pass that keeps nothing for a backward pass."""
    return asked or SCORING_BUDGET.get(device.type, SCORING_BUDGET["cpu"])


def _width(encoded: Sequence[Scorable]) -> int:
    return max(len(question.candidates) for question in encoded)


def passes(encoded: Sequence[Scorable], members: int, budget: int) -> Iterator[tuple[list[int], range]]:
    """Which questions and which of the members go through the model together: all members, where they fit.

    Questions of alike lengths go together, so that attention pads little; equal ones by index, to be repeatable.
    """
    order = sorted(range(len(encoded)), key=lambda i: (Item(0, encoded[i]).tokens(), i))
    each = [Item(0, encoded[i]) for i in order]
    for run in plan_packs(each, max(1, budget // members)):
        at_once = max(1, budget // sum(each[i].tokens() for i in run))
        for first in range(0, members, at_once):
            yield [order[i] for i in run], range(first, min(first + at_once, members))


def compile_pays(asked: Compile, device: torch.device, tokens: int) -> bool:
    """Whether to run the layers compiled, where so many tokens are yet to go forward and backward through them."""
    return asked == "on" or (asked == "auto" and tokens >= COMPILE_FROM.get(device.type, COMPILE_FROM["cpu"]))
