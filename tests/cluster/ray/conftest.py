"""A cluster of Ray on this machine: a head without room for workers, and nodes of one CPU core each."""

import io
import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from rich.console import Console

from kvorum.cluster.fit import fit_in_groups, on_ray
from kvorum.cluster.options import RayOptions
from kvorum.cluster.ray_cluster import connected
from kvorum.cluster.view import View
from kvorum.run import Run
from tests.cluster.fits import asked

SMALL: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
NODES = 3
LONG: dict[str, Any] = {"batch_size": 1, "epochs": 3, "save_minutes": 0.0}
"""A fit of 24 steps that is saved after each."""


class Nodes:
    """The cluster, whose machines can be lost."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        head = SMALL | {"num_cpus": 0, "include_dashboard": False}
        self.cluster = Cluster(initialize_head=True, head_node_args=head)
        self.add(NODES)

    @property
    def address(self) -> str:
        return str(self.cluster.address)

    def add(self, count: int) -> None:
        for _ in range(count):
            self.cluster.add_node(**SMALL, wait=False)
        self.cluster.wait_for_nodes()

    def node_of(self, pid: int) -> Any:
        """The node on which a worker runs."""
        parents = {parent.pid for parent in psutil.Process(pid).parents()}
        for node in self.cluster.worker_nodes:
            if any(one.process.pid in parents for one in node.all_processes["raylet"]):
                return node
        raise AssertionError(f"process {pid} is no worker of this cluster")

    def lose(self, node: Any) -> None:
        """As when a machine loses its power: all its processes end at once."""
        raylets = [psutil.Process(one.process.pid) for one in node.all_processes["raylet"]]
        workers = [child for raylet in raylets for child in raylet.children(recursive=True)]
        for process in workers:
            process.kill()
        self.cluster.remove_node(node, allow_graceful=False)

    def close(self) -> None:
        self.cluster.shutdown()


@pytest.fixture(scope="session")
def cluster() -> Iterator[Nodes]:
    pytest.importorskip("ray")
    # Its workers take kvorum from here.
    os.environ["PYTHONPATH"] = str(Path(__file__).parents[3] / "src")
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    made = Nodes()
    yield made
    made.close()


class Watched(View):
    """A view that keeps all it is told, and calls somebody when a piece of work has saved so much."""

    def __init__(self, then: Callable[[str, int], None] = lambda work, pid: None, *, at: str = "") -> None:
        super().__init__(Console(file=io.StringIO()))
        self.then, self.at = then, at
        self.heard: list[tuple[float, str, dict[str, Any]]] = []
        self.called: str | None = None

    def told(self, work: str, **state: Any) -> None:
        super().told(work, **state)
        self.heard.append((time.monotonic(), work, state))
        if self.called is None and self.at and state.get("saved") == self.at:
            self.called = work
            self.then(work, int(self.rows[work].where.rpartition(":")[2]))

    def saved(self, work: str) -> list[str]:
        """All points that a piece of work has told of, in turn."""
        return [state["saved"] for _, name, state in self.heard if name == work and "saved" in state]


def on_cluster(
    cluster: Nodes, model: str, task: str, out: object, per_worker: int | None = 2, **settings: Any
) -> tuple[Run, Watched]:
    """A fit on the cluster; `view` watches it."""
    view: Watched = settings.pop("view", None) or Watched()
    with connected(RayOptions(ray=cluster.address)) as found:
        spread = asked(model, task, out, **settings)
        fit_in_groups(spread, on_ray(found, view), per_worker=per_worker, slots=found.slots)
    return Run.open(Path(str(out))) if "://" not in str(out) else Run(Path("nowhere"), spread.config, {}), view


def kill(work: str, pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
