"""What a fit that is spread would do: its groups, the machines that they would go to, and the memory that they need."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from kvorum.cluster.fit import Asked
from kvorum.cluster.groups import begun_per_worker, grouped, refuse_other_groups, said
from kvorum.cluster.options import GroupOptions
from kvorum.cluster.ray_cluster import Cluster, Node
from kvorum.cluster.storage import Storage
from kvorum.posterior.dry_run import GIB, told
from kvorum.posterior.job import Job, plan


@dataclasses.dataclass(frozen=True, kw_only=True)
class Placement:
    """Where the workers of a fit would be, and what each needs."""

    groups: list[tuple[int, ...]]
    memory: dict[str, int]
    """Bytes of the worker with the most members, by what for."""
    nodes: list[tuple[Node, int]]
    """Each machine with the most workers that it gets; none without a cluster."""

    @property
    def worker(self) -> int:
        """Bytes of that worker."""
        return sum(self.memory.values())

    def as_dict(self) -> dict[str, Any]:
        """Plain values; memory in bytes."""
        return {
            "groups": [list(group) for group in self.groups],
            "worker_memory": self.memory,
            "machines": [
                {
                    "address": node.address,
                    "cpus": node.cpus,
                    "gpus": node.gpus,
                    "memory": node.memory,
                    "workers": workers,
                    "workers_memory": workers * self.worker,
                }
                for node, workers in self.nodes
            ],
        }


def as_on_workers(asked: Asked, cluster: Cluster | None) -> Job:
    """The whole fit as a worker would hold it, which may have a GPU where this machine has none."""
    if cluster is None or not cluster.gpus or asked.config.device != "auto":
        return asked.job
    return plan(dataclasses.replace(asked.config, device="cuda"), inputs=asked.inputs, weights=False)


def placed(asked: Asked, job: Job, options: GroupOptions, cluster: Cluster | None) -> Placement:
    """Where the groups of a fit would go; `job` is the whole of it."""
    storage = Storage(asked.out)
    slots = cluster.slots if cluster is not None else 1
    size = options.members_per_worker or begun_per_worker(storage, asked.members) or -(-len(asked.members) // slots)
    groups = grouped(asked.members, size)
    refuse_other_groups(storage, groups)
    left, nodes = len(groups), []
    for node in cluster.nodes if cluster is not None else []:
        workers = min(left, node.room(cluster.cpus, cluster.gpus)) if cluster is not None else 0
        left -= workers
        nodes.append((node, workers))
    return Placement(groups=groups, memory=job.part(groups[0]).memory_estimate(), nodes=nodes)


def rows(placement: Placement, cluster: Cluster | None) -> list[tuple[str, str]]:
    """A placement in words: what is said of, and what is said."""
    groups, each = placement.groups, placement.worker
    sizes = f"{len(groups)} of {len(groups[0])} members"
    if len(groups[-1]) < len(groups[0]):
        sizes += f", the last of {len(groups[-1])}"
    found = [
        ("groups", f"{sizes}: {_some([said(group) for group in groups])}"),
        ("a worker", told(placement.memory, 2)),
    ]
    if cluster is None:
        return [*found, ("placement", "one group after another in this process")]
    slots = cluster.slots
    gpus = f" and {cluster.gpus:g} GPU" if cluster.gpus else ""
    rounds = -(-len(groups) // slots)
    found.append(
        (
            "cluster",
            f"{len(placement.nodes)} machines, room for {slots} workers of {cluster.cpus:g} CPU cores{gpus}: "
            + ("all groups at once" if rounds == 1 else f"the groups in {rounds} turns"),
        )
    )
    for node, workers in placement.nodes:
        need = f"about {workers * each / GIB:.2f} GiB"
        memory = f"{need} on its GPUs" if cluster.gpus else f"{need} of {node.memory / GIB:.1f} GiB"
        short = "; THAT IS MORE THAN THERE IS" if not cluster.gpus and workers * each > node.memory else ""
        has = f"{node.cpus:g} CPU cores, {node.gpus:g} GPUs"
        found.append((node.address, f"{has}: {workers} workers, {memory}{short}"))
    return found


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
