"""Giving work to the workers of a cluster: each piece to one that is free, again where a worker or a machine dies."""

import collections
import dataclasses
import logging
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version
from typing import Any

from kvorum.cluster.news import News, Said
from kvorum.cluster.ray_cluster import Cluster, ray
from kvorum.cluster.view import View
from kvorum.cluster.worker import Left, Worker
from kvorum.errors import KvorumError
from kvorum.posterior.stop import Stopped, StopRequest

LOST_IN_A_ROW = 3
"""How often a piece of work may lose its worker without having saved anything in between."""
TICK = 0.3
"""Seconds between looks at the cluster."""
PATIENCE = 30.0
"""Seconds without a worker after which that is said, and between two tries where one could not be started."""

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
    """Of a piece of work: how far it is saved, and how often in a row it lost its worker since."""

    saved: str = ""
    saved_when_lost: str = ""
    lost: int = 0


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
        self._starting: dict[Any, Any] = {}
        """By the reference of what a new worker says first, the worker."""
        self._idle: list[tuple[Any, str]] = []
        """Workers that are free, and where they are."""
        self._running: dict[Any, tuple[str, Any, str]] = {}
        """By the reference of a result, the work, its worker and where that is."""
        self._never_started = 0
        self._hire_from = 0.0
        self._stuck_since = time.monotonic()

    def run(self) -> None:
        """All work to its end; afterwards `results` and `failed` hold what came of each piece.

        Raises `KvorumError` where no worker can be started, and `Stopped` when a signal asked for a stop and all
        workers have saved what they had.
        """
        here = ray().get_runtime_context().get_node_id()
        near = ray().util.scheduling_strategies.NodeAffinitySchedulingStrategy(here, soft=False)
        news = ray().remote(News).options(num_cpus=0, scheduling_strategy=near).remote()
        asked = False
        with StopRequest() as stop, self.view:
            self.view.begin(list(self.works))
            try:
                while self._running or (self.waiting and not asked):
                    if stop.asked is not None and not asked:
                        asked = True
                        news.stop.remote(stop.asked)
                    if not asked:
                        self._hire(news)
                        self._hand_out()
                    self._look()
                    self._hear(ray().get(news.take.remote()))
                self._hear(ray().get(news.take.remote()))
            finally:
                self._dismiss()
                ray().kill(news)
        if asked:
            assert stop.asked is not None
            raise Stopped(f"stopped, and what {len(self.works)} pieces of work had computed is saved", stop.asked)

    def _hire(self, news: Any) -> None:
        """Start workers while there is work for them and room."""
        now = time.monotonic()
        if self._running or not self._starting:
            self._stuck_since = now
        elif now - self._stuck_since > PATIENCE:
            self._stuck_since = now
            log.warning("waiting for a worker: whatever else runs on the cluster leaves no room, or machines are slow")
        if now < self._hire_from:
            return
        have = len(self._starting) + len(self._idle) + len(self._running)
        wanted = min(self.cluster.slots, len(self._running) + len(self.waiting))
        for _ in range(wanted - have):
            worker = (
                ray()
                .remote(Worker)
                .options(num_cpus=self.cluster.cpus, num_gpus=self.cluster.gpus)
                .remote(news, max(1, int(self.cluster.cpus)))
            )
            self._starting[worker.hello.remote()] = worker

    def _hand_out(self) -> None:
        for name in self._ready()[: len(self._idle)]:
            self.waiting.remove(name)
            (worker, where), work = self._idle.pop(0), self.works[name]
            self._running[getattr(worker, work.method).remote(name, work.given)] = (name, worker, where)
            self.view.told(name, state="running", where=where)
        if not self.waiting:
            # Others may use what is idle; and who waits long may have died before it is given anything.
            for worker, _ in self._idle:
                ray().kill(worker)
            self._idle.clear()

    def _ready(self) -> list[str]:
        """What waits for nothing but a worker."""
        return [name for name in self.waiting if all(other in self.results for other in self.works[name].after)]

    def _look(self) -> None:
        """Wait a moment for something to end."""
        refs = [*self._starting, *self._running]
        if not refs:
            time.sleep(TICK)
            return
        done, _ = ray().wait(refs, num_returns=1, timeout=TICK, fetch_local=False)
        for ref in done:
            if ref in self._starting:
                self._started(ref)
            else:
                self._ended(ref)

    def _started(self, ref: Any) -> None:
        worker = self._starting.pop(ref)
        try:
            hello = ray().get(ref)
        except ray().exceptions.RayError as error:
            self._not_started(_cause(error))
            return
        if hello.kvorum != version("kvorum"):
            ray().kill(worker)
            self._not_started(f"{hello.host} has kvorum {hello.kvorum}, and here is {version('kvorum')}")
            return
        self._never_started = 0
        self._idle.append((worker, f"{hello.host}:{hello.pid}"))

    def _not_started(self, why: str) -> None:
        """A worker that did not come to life; raises `KvorumError` where none does."""
        self._never_started += 1
        if self._never_started >= LOST_IN_A_ROW and not self._running and not self._idle:
            raise KvorumError(f"no worker could be started: {why}")
        log.warning("a worker could not be started: %s", why)
        # While others work there is time to try again; a machine that takes none would be asked without end.
        self._hire_from = time.monotonic() + (PATIENCE if self._running else TICK)

    def _ended(self, ref: Any) -> None:
        name, worker, where = self._running.pop(ref)
        try:
            result = ray().get(ref)
        except ray().exceptions.RayTaskError as error:
            self._failed(name, error.cause if error.cause is not None else error)
        except ray().exceptions.RayError as error:
            self._lost(name, where, error)
            return
        else:
            if not isinstance(result, Left):
                self.ended(name, result)
                self.results[name] = result
                self.view.told(name, state="done")
        self._idle.append((worker, where))

    def _failed(self, name: str, error: BaseException) -> None:
        """A piece of work that raised: again where its storage failed, for good where it cannot be done."""
        if isinstance(error, OSError) and not isinstance(error, KvorumError):
            self._again(name, f"its storage failed ({_cause(error)})")
            return
        if isinstance(error, KvorumError):
            self._give_up(name, str(error))
            return
        # A mistake of kvorum's, or of a library: where it happened is worth knowing.
        log.error("%s", "".join(traceback.format_exception(error)))
        self._give_up(name, f"{type(error).__name__}: {_cause(error)}")

    def _lost(self, name: str, where: str, error: BaseException) -> None:
        self._again(name, f"its worker {where} died ({_cause(error)})")

    def _again(self, name: str, why: str) -> None:
        progress = self._progress[name]
        progress.lost = progress.lost + 1 if progress.saved == progress.saved_when_lost else 1
        progress.saved_when_lost = progress.saved
        if progress.lost >= LOST_IN_A_ROW:
            self._give_up(name, f"{why}, {progress.lost} times in a row without anything saved in between")
            return
        log.warning("%s: %s; another goes on from %s", name, why, progress.saved or "the start")
        self.view.told(name, state="waiting")
        self.waiting.appendleft(name)

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
            if "saved" in said.state:
                self._progress[said.work].saved = said.state["saved"]
            self.view.told(said.work, **said.state)
            for level, line in said.lines:
                log.log(level, "%s: %s", said.work, line)

    def _dismiss(self) -> None:
        running = [worker for _, worker, _ in self._running.values()]
        for worker in (*self._starting.values(), *(worker for worker, _ in self._idle), *running):
            ray().kill(worker)


def reasons(failed: Iterable[tuple[str, str]]) -> str:
    """Why work failed, by names and reasons: each reason once, after the names that it is of."""
    names: dict[str, dict[str, None]] = {}
    for name, why in failed:
        names.setdefault(why, {})[name] = None
    return "; ".join(f"{', '.join(of)}: {why}" for why, of in names.items())


def _cause(error: BaseException) -> str:
    """An error of Ray's in a line."""
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    missing = [line for line in lines if "ModuleNotFoundError" in line or "No module named" in line]
    if missing:
        return f"{missing[-1]}; install kvorum[ray] in the same version on every machine"
    return lines[0] if lines else type(error).__name__
