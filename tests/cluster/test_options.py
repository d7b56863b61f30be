from typing import Any

import pytest

import kvorum
from kvorum.cluster.options import GroupOptions, RayOptions


@pytest.mark.parametrize("address", [None, "auto", "local", "10.0.0.1:6379", "head.example:6379", "[::1]:6379"])
def test_an_address_is_a_word_or_a_host_with_its_port(address: str | None) -> None:
    assert RayOptions(ray=address).ray == address
    assert GroupOptions(ray=address).wanted == (address is not None)


def test_groups_are_wanted_without_a_cluster_too() -> None:
    assert GroupOptions(members_per_worker=2).wanted and not GroupOptions(cpus_per_worker=2.0).wanted


@pytest.mark.parametrize("gpus", [None, 0.0, 0.5, 1.0, 8.0])
def test_a_worker_has_a_part_of_a_gpu_or_whole_ones(gpus: float | None) -> None:
    assert RayOptions(gpus_per_worker=gpus).gpus_per_worker == gpus


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"ray": "ray://head:10001"}, "ray is 'ray://head:10001'; expected auto, local, or the address"),
        ({"ray": "head"}, "expected auto, local"),
        ({"ray": "head:port"}, "expected auto, local"),
        ({"ray": "a\nb:1"}, "expected auto, local"),
        ({"ray": ""}, "expected auto, local"),
        ({"cpus_per_worker": 0.0}, "cpus_per_worker is 0"),
        ({"cpus_per_worker": float("nan")}, "cpus_per_worker is nan"),
        ({"gpus_per_worker": 1.5}, "a fraction below 1, or a whole number"),
        ({"gpus_per_worker": -1.0}, "gpus_per_worker is -1"),
        ({"members_per_worker": 0}, "members_per_worker is 0; it must be at least 1"),
    ],
)
def test_what_cannot_be_is_refused(setting: dict[str, Any], said: str) -> None:
    with pytest.raises(kvorum.KvorumError, match=said):
        GroupOptions(**setting)
