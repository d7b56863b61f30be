"""The questions of all clients through one model: whatever waits goes in together, as much as a pass takes."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float64

from kvorum.errors import KvorumError
from kvorum.posterior.posterior import Posterior
from kvorum.posterior.scoring import Scorer
from kvorum.predictions import Predictions
from kvorum.tasks import EncodedQuestion, Question

Submit = Callable[[Sequence[Question], Sequence[EncodedQuestion]], "Future[Predictions]"]

LINGER, LONGEST_LINGER = 0.02, 0.02
"""Part of a pass's time that the next one waits for more after it, and at most so many seconds: half empty passes cost
more than that."""

log = logging.getLogger(__name__)


class Stopping(KvorumError):
    """No more questions can be scored."""


class QueueFull(KvorumError):
    """So many questions wait that these are not taken."""

    def __init__(self, waiting: int, seconds: float) -> None:
        self.seconds = max(1, round(seconds))
        super().__init__(f"{waiting} questions wait already; ask again in about {self.seconds} s")


@dataclass(frozen=True, slots=True)
class Pass:
    """A pass through the model, for whom counts."""

    questions: int
    tokens: int
    """Of all members together."""
    seconds: float


@dataclass(slots=True, eq=False)
class Ticket:
    """The questions of one request, until all of them are scored."""

    questions: Sequence[Question]
    result: "Future[Predictions]" = field(default_factory=Future)
    probs: dict[int, Float64[np.ndarray, "member candidate"]] = field(default_factory=dict)
    rest: dict[int, Float64[np.ndarray, " member"]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Waiting:
    """One question of a ticket."""

    ticket: Ticket
    place: int
    encoded: EncodedQuestion
    tokens: int


class Batcher:
    """Scores questions in a thread of its own, first come first served, by the token budget of a pass."""

    def __init__(self, posterior: Posterior, *, most: int, told: Callable[[Pass], None] = lambda _: None) -> None:
        self.posterior = posterior
        self.most = most
        """Questions that may wait."""
        self.told = told
        self._waiting: deque[Waiting] = deque()
        self._coming = 0
        """Questions whose tokens are being made."""
        self._changed = threading.Condition()
        self._stopping = False
        self._rate = 1000.0
        """Tokens a second, lately."""
        self._linger_until = 0.0
        """Until when a pass that is not full waits for those who have just been answered to ask again."""
        self._ready: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, name="kvorum-batcher", daemon=True)

    def start(self, trial: Sequence[EncodedQuestion]) -> None:
        """Put the adapters on, compile if that is wanted, and try it; returns when questions can come."""
        if not self._ready.done():
            self._trial = list(trial)
            self._thread.start()
        self._ready.result()

    def stop(self) -> None:
        """Score what was taken, and end."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()

    @property
    def alive(self) -> bool:
        """Whether questions can be scored."""
        return self._thread.is_alive() and not self._stopping

    @property
    def waiting(self) -> int:
        """How many questions wait."""
        return len(self._waiting)

    def give_up(self) -> None:
        """Answer whoever still waits that it stops."""
        self._end("the server is stopping, and did not come to this")

    def _end(self, why: str, batch: Sequence[Waiting] = ()) -> None:
        """Take no more questions, and tell those of a batch and those that wait why."""
        with self._changed:
            self._stopping = True
            left = [*batch, *self._waiting]
            self._waiting.clear()
            self._changed.notify()
        for one in left:
            _settle(one.ticket.result, Stopping(why))

    @contextmanager
    def room(self, count: int) -> Iterator[Submit]:
        """Room for so many questions, kept while their tokens are made; what is yielded then takes them.

        Raises `QueueFull` where too many wait, and `Stopping` where no more can be scored.
        """
        with self._changed:
            if self._stopping:
                raise Stopping("the server is stopping, and takes no more questions")
            # Those whose clients have gone take no room.
            self._waiting = deque(one for one in self._waiting if not one.ticket.result.done())
            taken = len(self._waiting) + self._coming
            if taken + count > self.most:
                raise QueueFull(taken, sum(one.tokens for one in self._waiting) / self._rate)
            self._coming += count
        try:
            yield self._submit
        finally:
            with self._changed:
                self._coming -= count

    def _submit(self, questions: Sequence[Question], encoded: Sequence[EncodedQuestion]) -> "Future[Predictions]":
        ticket = Ticket(questions)
        ours = [Waiting(ticket, place, one, self._scorer.tokens(one)) for place, one in enumerate(encoded)]
        with self._changed:
            if self._stopping:
                raise Stopping("the server is stopping, and takes no more questions")
            self._waiting.extend(ours)
            self._changed.notify()
        return ticket.result

    def _run(self) -> None:
        batch: list[Waiting] = []
        try:
            with self.posterior.scoring(self._trial, endless=True) as scorer:
                self._scorer = scorer
                self._warm(scorer)
                self._ready.set_result(None)
                while batch := self._next(scorer.token_budget):
                    self._score(scorer, batch)
        except BaseException as error:  # it ends the thread, so whoever waits must hear of it
            if not self._ready.done():
                self._ready.set_exception(error)
                return
            log.critical("scoring has ended", exc_info=error)
            self._end("the server can no longer score", batch)

    def _warm(self, scorer: Scorer) -> None:
        """Passes of a few sizes, so that nobody waits for what a first one has to set up."""
        for count in (1, 2, 5):
            began = time.monotonic()
            some = [self._trial[place % len(self._trial)] for place in range(count)]
            scorer(some)
            self._rate = sum(map(scorer.tokens, some)) / max(1e-6, time.monotonic() - began)

    def _next(self, budget: int) -> list[Waiting]:
        """What goes in next: those that wait longest, as many as a pass takes; nothing once all is done."""
        batch: list[Waiting] = []
        used = 0
        with self._changed:
            while not batch:
                while not self._waiting:
                    if self._stopping:
                        return []
                    self._changed.wait()
                while not self._stopping and not self._full(budget):
                    if (left := self._linger_until - time.monotonic()) <= 0:
                        break
                    self._changed.wait(left)
                while self._waiting and (not batch or used + self._waiting[0].tokens <= budget):
                    one = self._waiting.popleft()
                    if not one.ticket.result.done():
                        batch.append(one)
                        used += one.tokens
        return batch

    def _full(self, budget: int) -> bool:
        return sum(one.tokens for one in self._waiting) >= budget

    def _score(self, scorer: Scorer, batch: Sequence[Waiting]) -> None:
        began = time.monotonic()
        try:
            probs, rest = scorer([one.encoded for one in batch])
            for row, one in enumerate(batch):
                ticket = one.ticket
                ticket.probs[one.place] = probs[:, row, : len(one.encoded.candidates)]
                ticket.rest[one.place] = rest[:, row]
                if len(ticket.probs) == len(ticket.questions):
                    _settle(ticket.result, self._predictions(ticket))
        except Exception as error:
            log.exception("a pass of %d questions failed", len(batch))
            if len(batch) > 1:
                # Each for itself, so that one that cannot be scored spoils no other.
                for one in batch:
                    self._score(scorer, [one])
            else:
                _settle(batch[0].ticket.result, error)
            return
        seconds, tokens = time.monotonic() - began, sum(one.tokens for one in batch)
        self._linger_until = time.monotonic() + min(LINGER * seconds, LONGEST_LINGER)
        self._rate = 0.7 * self._rate + 0.3 * tokens / max(1e-6, seconds)
        self.told(Pass(len(batch), tokens, seconds))

    def _predictions(self, ticket: Ticket) -> Predictions | Exception:
        width = max(part.shape[1] for part in ticket.probs.values())
        probs = np.zeros((len(ticket.rest[0]), len(ticket.questions), width))
        for place, part in ticket.probs.items():
            probs[:, place, : part.shape[1]] = part
        rest = np.stack([ticket.rest[place] for place in range(len(ticket.questions))], axis=1)
        try:
            return self.posterior.predictions(ticket.questions, (probs, rest))
        except KvorumError as error:
            return error


def _settle(future: "Future[Predictions]", result: Predictions | Exception) -> None:
    """Hand over a result, unless nobody waits for it any more."""
    try:
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)
    except InvalidStateError:
        log.debug("a request was given up before its questions were scored")
