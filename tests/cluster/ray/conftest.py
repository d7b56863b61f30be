"""A cluster of Ray on this machine: a head without CPUs, and three nodes with one CPU each."""

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

import pytest


@dataclasses.dataclass
class OnThisMachine:
    address: str


@pytest.fixture(scope="session")
def cluster() -> Iterator[OnThisMachine]:
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    # Its workers take kvorum from here.
    os.environ["PYTHONPATH"] = str(Path(__file__).parents[3] / "src")
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(3):
        made.add_node(num_cpus=1)
    made.wait_for_nodes()
    yield OnThisMachine(made.address)
    made.shutdown()
