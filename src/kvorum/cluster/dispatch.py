"""Giving work to the workers of a cluster: each piece to one that is free, again where a worker or a machine dies."""

import collections
import dataclasses
import logging
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from kvorum.cluster.crew import Crew, Hand, cause
from kvorum.cluster.news import News, Said
from kvorum.cluster.ray_cluster import Cluster, ray
from kvorum.cluster.refusals import NotHere
from kvorum.cluster.view import View
from kvorum.cluster.worker import Left
from kvorum.errors import KvorumError
from kvorum.posterior.stop import Stopped, StopRequest

LOST_IN_A_ROW = 3
"""How often a piece of work may be lost without having saved anything in between."""
TICK = 0.3
"""Seconds between looks at the cluster."""
PAUSE = 5.0
"""Seconds before a piece of work that was lost is handed out again, longer each time in a row."""
UNHEARD = 4
"""How many workers that died before anything was heard of the work count as one."""

Ended = Callable[[str, Any], None]
"""Told of a piece of work that is done, before what comes after it begins: its name, and what came of it."""

log = logging.getLogger(__name__)


def nothing_more(name: str, result: Any) -> None:
    """Where nothing follows from a piece of work that is done."""


@dataclasses.dataclass(frozen=True)
class Work:
    """A piece of work: a method of `Worker`, and what it is given."""

    method: str
    given: Any
    after: tuple[str, ...] = ()
    """What must be done before, by its names; where that fails, this fails with it."""


@dataclasses.dataclass
class _Progress:
    """Of a piece of work: how far it is saved, and how often in a row it was lost since."""

    saved: str = ""
    saved_when_lost: str = ""
    lost: float = 0.0
    heard: bool = False
    """Whether anything was heard of it since it was handed out last."""
    not_before: float = 0.0
    """When it may be handed out again."""


class Dispatch:
    """Work under way on a cluster."""

    def __init__(self, cluster: Cluster, works: Mapping[str, Work], view: View, *, ended: Ended = nothing_more) -> None:
        self.cluster = cluster
        self.ended = ended
        self.works = dict(works)
        self.view = view
        self.waiting = collections.deque(works)
        self.results: dict[str, Any] = {}
        self.failed: dict[str, str] = {}
        self._progress = {name: _Progress() for name in works}
        self._running: dict[Any, tuple[str, Hand]] = {}
        """By the reference of a result, the work and its worker."""

    def run(self) -> None:
        """All work to its end; afterwards `results` and `failed` hold what came of each piece.

        Raises `KvorumError` where no worker can be started, and `Stopped` when a signal asked for a stop and all
        workers have saved what they had.
        """
        here = ray().get_runtime_context().get_node_id()
        near = ray().util.scheduling_strategies.NodeAffinitySchedulingStrategy(here, soft=False)
        news = ray().remote(News).options(num_cpus=0, scheduling_strategy=near).remote()
        crew = Crew(self.cluster, news)
        asked = False
        with StopRequest() as stop, self.view:
            self.view.begin(list(self.works))
            try:
                while self._running or (self.waiting and not asked):
                    if stop.asked is not None and not asked:
                        asked = True
                        news.stop.remote(stop.asked)
                    if not asked:
                        self._hand_out(crew)
                    self._look(crew)
                    self._hear(ray().get(news.take.remote()))
                self._hear(ray().get(news.take.remote()))
            finally:
                for _, hand in self._running.values():
                    crew.let_go(hand)
                crew.dismiss()
                ray().kill(news)
        if asked:
            assert stop.asked is not None
            raise Stopped(f"stopped, and what {len(self.works)} pieces of work had computed is saved", stop.asked)

    def _hand_out(self, crew: Crew) -> None:
        """Give whoever is free something to do, and start workers for the rest."""
        if self.waiting and not self._running and (why := crew.nowhere) is not None:
            for name in list(self.waiting):
                if name in self.waiting:  # and did not fall with another
                    self.waiting.remove(name)
                    self._give_up(name, why)
        crew.hire(len(self._running) + len(self.waiting), len(self._running))
        for name in self._ready()[: len(crew.idle)]:
            self.waiting.remove(name)
            hand, work = crew.idle.pop(0), self.works[name]
            self._progress[name].heard = False
            self._running[getattr(hand.actor, work.method).remote(name, work.given)] = (name, hand)
            self.view.told(name, state="running", where=hand.where)
        if not self.waiting:
            # Others may use what is idle; and who waits long may have died before it is given anything.
            crew.dismiss()

    def _ready(self) -> list[str]:
        """What waits for nothing but a worker."""
        now = time.monotonic()
        return [
            name
            for name in self.waiting
            if self._progress[name].not_before <= now and all(other in self.results for other in self.works[name].after)
        ]

    def _look(self, crew: Crew) -> None:
        """Wait a moment for something to end."""
        refs = [*crew.starting, *self._running]
        if not refs:
            time.sleep(TICK)
            return
        done, _ = ray().wait(refs, num_returns=1, timeout=TICK, fetch_local=False)
        for ref in done:
            if ref in crew.starting:
                crew.started(ref, len(self._running))
            else:
                self._ended(ref, crew)

    def _ended(self, ref: Any, crew: Crew) -> None:
        name, hand = self._running.pop(ref)
        try:
            result = ray().get(ref)
        except ray().exceptions.RayTaskError as error:
            self._failed(name, hand, error.cause if error.cause is not None else error, crew)
        except ray().exceptions.RayError as error:
            # It may only be out of reach; and with it whoever waits beside it.
            crew.let_go(hand)
            crew.leave(hand.node)
            self._again(name, f"its worker {hand.where} died ({cause(error)})")
        else:
            if not isinstance(result, Left):
                self.ended(name, result)
                self.results[name] = result
                self.view.told(name, state="done")
            crew.idle.append(hand)

    def _failed(self, name: str, hand: Hand, error: BaseException, crew: Crew) -> None:
        """A piece of work that raised: again where its machine or storage failed, for good where it cannot be done."""
        if isinstance(error, NotHere):
            crew.bar(hand, str(error))
            self.view.told(name, state="waiting")
            self.waiting.append(name)
            return
        if isinstance(error, OSError | ray().exceptions.RayError) and not isinstance(error, KvorumError):
            # A disk that is full, a mount that is gone: another worker may be on a machine where it is not.
            crew.let_go(hand)
            self._again(name, f"on {hand.where}: {cause(error)}")
            return
        crew.idle.append(hand)
        if isinstance(error, KvorumError):
            self._give_up(name, str(error))
            return
        # A mistake of kvorum's, or of a library: where it happened is worth knowing.
        log.error("%s", "".join(traceback.format_exception(error)))
        self._give_up(name, f"{type(error).__name__}: {cause(error)}")

    def _again(self, name: str, why: str) -> None:
        """A piece of work that was lost: later once more, unless that was too often in a row."""
        progress = self._progress[name]
        if progress.saved != progress.saved_when_lost:
            progress.lost = 0
        # Of a worker that died before it had begun nothing is known of the work.
        progress.lost += 1 if progress.heard else 1 / UNHEARD
        progress.saved_when_lost = progress.saved
        if progress.lost >= LOST_IN_A_ROW:
            self._give_up(name, f"{why}; so often in a row, with nothing saved in between, that it is not tried again")
            return
        pause = PAUSE * progress.lost
        progress.not_before = time.monotonic() + pause
        log.warning("%s: %s; another goes on from %s", name, why, progress.saved or "the start")
        self.view.told(name, state="waiting")
        self.waiting.append(name)

    def _give_up(self, name: str, why: str) -> None:
        """A piece of work that failed for good, and what must come after it."""
        if why not in self.failed.values():
            log.error("%s failed: %s", name, why)
        self.failed[name] = why
        self.view.told(name, state="failed")
        for other in [other for other in self.waiting if name in self.works[other].after]:
            if other in self.waiting:
                self.waiting.remove(other)
                self._give_up(other, f"it comes after {name}")

    def _hear(self, news: list[Said]) -> None:
        for said in news:
            self._progress[said.work].heard = True
            if "saved" in said.state:
                self._progress[said.work].saved = said.state["saved"]
            self.view.told(said.work, **said.state)
            for level, line in said.lines:
                log.log(level, "%s: %s", said.work, line)


def reasons(failed: Iterable[tuple[str, str]]) -> str:
    """Why work failed, by names and reasons: each reason once, after the names that it is of."""
    names: dict[str, dict[str, None]] = {}
    for name, why in failed:
        names.setdefault(why, {})[name] = None
    return "; ".join(f"{', '.join(of)}: {why}" for why, of in names.items())
