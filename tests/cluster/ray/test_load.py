"""The load test of benchmarks/ray_load.py, small: more groups than workers, and nothing is lost."""

from pathlib import Path

import pytest
import ray_load

from tests.cluster.ray.conftest import Nodes

pytestmark = pytest.mark.ray


def test_many_small_groups_are_all_fitted(cluster: Nodes, tmp_path: Path) -> None:
    # Where it is no script, its worker goes to the others only so.
    pytest.importorskip("ray").cloudpickle.register_pickle_by_value(ray_load)
    measured = ray_load.load(cluster.address, tmp_path, 12)
    assert 1 <= measured["processes that worked"] <= 3, "a worker does one group after another"
    assert measured["a worker's gap between two groups, median, s"] < 2
