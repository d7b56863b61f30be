"""The workers of a cluster that do a command's work: started while there is work and room for them, and let go of."""

import dataclasses
import logging
import time
from importlib.metadata import version
from typing import Any

from kvorum.cluster.ray_cluster import Cluster, ray
from kvorum.cluster.worker import Worker
from kvorum.errors import KvorumError

MOST_FAILED_STARTS = 3
"""Workers in a row that cannot be started, where none is there."""
PATIENCE = 30.0
"""Seconds without a worker after which that is said, and between two tries where one could not be started."""
SOON = 0.3
"""Seconds between two tries while nothing else is done."""

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Hand:
    """A worker that is there."""

    actor: Any
    node: str
    """The machine, as Ray calls it,"""
    where: str
    """and as people do: its name and the process."""


class Crew:
    """Workers, and the machines that work cannot be done on."""

    def __init__(self, cluster: Cluster, news: Any) -> None:
        self.cluster = cluster
        self.news = news
        self.starting: dict[Any, Any] = {}
        """By the reference of what a new worker says first, the worker."""
        self.idle: list[Hand] = []
        self.barred: dict[str, str] = {}
        """Machines, and why they are given nothing more."""
        self._failed_starts = 0
        self._hire_from = 0.0
        self._alone_since = time.monotonic()

    def hire(self, wanted: int, running: int) -> None:
        """Start workers until there are as many as wanted, or as there is room for; `running` of them are at work."""
        now = time.monotonic()
        if running or self.idle:
            self._alone_since = now
        elif now - self._alone_since > PATIENCE:
            self._alone_since = now
            log.warning(
                "waiting for a worker: the cluster has room for %d of them, whatever else runs on it apart",
                self.cluster.slots,
            )
        if now < self._hire_from:
            return
        have = len(self.starting) + len(self.idle) + running
        for _ in range(min(self.cluster.slots, wanted) - have):
            options = {"num_cpus": self.cluster.cpus, "num_gpus": self.cluster.gpus}
            actor = ray().remote(Worker).options(**options).remote(self.news, max(1, int(self.cluster.cpus)))
            self.starting[actor.hello.remote()] = actor

    def started(self, ref: Any, running: int) -> None:
        """Take in a worker that has said its first word.

        Raises `KvorumError` where none comes to life.
        """
        actor = self.starting.pop(ref)
        try:
            hello = ray().get(ref)
        except ray().exceptions.RayError as error:
            self._not_started(cause(error), running)
            return
        why = self.barred.get(hello.node)
        if hello.kvorum != version("kvorum"):
            why = f"{hello.host} has kvorum {hello.kvorum}, and here is {version('kvorum')}"
        if why is not None:
            ray().kill(actor)
            self._not_started(why, running)
            return
        self._failed_starts = 0
        self.idle.append(Hand(actor, hello.node, f"{hello.host}:{hello.pid}"))

    def bar(self, hand: Hand, why: str) -> None:
        """Give a machine nothing more to do, since this cannot be done there."""
        if hand.node not in self.barred:
            log.warning("%s is given nothing more to do: %s", hand.where.rpartition(":")[0], why)
        self.barred[hand.node] = why
        self.let_go(hand)
        self.leave(hand.node)

    def leave(self, node: str) -> None:
        """Let go of those who wait on a machine: it may be dead, though that is not known yet."""
        for other in [other for other in self.idle if other.node == node]:
            self.idle.remove(other)
            self.let_go(other)

    @property
    def nowhere(self) -> str | None:
        """Why there is no machine left that may be given work; None where there is."""
        some = [node for node in self.cluster.nodes if node.room(self.cluster.cpus, self.cluster.gpus)]
        if some and all(node.id in self.barred for node in some):
            return next(iter(self.barred.values()))
        return None

    def let_go(self, hand: Hand) -> None:
        """End a worker, whatever it does."""
        ray().kill(hand.actor)

    def dismiss(self) -> None:
        """End all that are not at work."""
        for actor in (*self.starting.values(), *(hand.actor for hand in self.idle)):
            ray().kill(actor)
        self.starting.clear()
        self.idle.clear()

    def _not_started(self, why: str, running: int) -> None:
        self._failed_starts += 1
        if self._failed_starts >= MOST_FAILED_STARTS and not running and not self.idle:
            raise KvorumError(f"no worker could be started: {why}")
        log.warning("a worker could not be started: %s", why)
        # While others work there is time to try again; a machine that takes none would be asked without end.
        self._hire_from = time.monotonic() + (PATIENCE if running else SOON)


def cause(error: BaseException) -> str:
    """An error in a line."""
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    missing = [line for line in lines if "ModuleNotFoundError" in line or "No module named" in line]
    if missing:
        return f"{missing[-1]}; install kvorum[ray] in the same version on every machine"
    return lines[0] if lines else type(error).__name__
