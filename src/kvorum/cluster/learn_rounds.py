"""What a worker tells of the rounds of an experiment, and where it leaves when it is asked to stop."""

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kvorum.active.progress import SilentRounds, outcome
from kvorum.active.records import Learned
from kvorum.cluster.news import Teller
from kvorum.posterior.progress import Silent
from kvorum.posterior.stop import Stopped, StopRequest

if TYPE_CHECKING:
    from kvorum.posterior.job import Job

log = logging.getLogger(__name__)


class ToldRounds(SilentRounds):
    """Tells of rounds what a worker tells of a fit; raises `Stopped` from any of its methods but `done`.

    An experiment keeps whole rounds: what is left in the midst of one is lost, and soon begun again.
    """

    def __init__(self, teller: Teller, stop: StopRequest) -> None:
        self.teller = teller
        self.stop = stop
        self.anew = False
        """Whether this round was fitted, and not found done."""

    def round(self, acquisition: str, number: int, of: int) -> None:
        """Say which round begins."""
        self.anew = False
        self.teller.part = f"round {number}/{of}" if number else "start"
        self.teller.doing("choosing", now=False)
        self.leave_if_asked()

    def fitting(self) -> "_Fit":
        """Tell of the steps of the fit."""
        self.anew = True
        self.leave_if_asked()
        return _Fit(self)

    def questions(self, done: int, total: int) -> None:
        """Say how far scoring is."""
        self.teller.doing(f"scoring {done}/{total}", now=False)
        self.leave_if_asked()

    def done(self, learned: Learned, acquisition: str, number: int) -> None:
        """Say that a round is saved, and what came of it."""
        if self.anew:
            self.teller.point(self.teller.part)
            log.info("%s: %s", self.teller.part, outcome(learned, acquisition, number).strip())

    def leave_if_asked(self) -> None:
        """Stop here: the rounds before this one are saved."""
        if self.stop.asked is not None:
            raise Stopped("stopped, and every round before this one is saved", self.stop.asked)


class _Fit(Silent):
    """The fit of a round."""

    def __init__(self, rounds: ToldRounds) -> None:
        self.rounds = rounds

    def begin(self, job: "Job", done: int, steps: int) -> None:
        """Say how much there is to do."""
        self.rounds.teller.begin(job, done, steps)

    def steps(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Say which step it is, and what it was like."""
        self.rounds.teller.steps(lines)
        self.rounds.leave_if_asked()
