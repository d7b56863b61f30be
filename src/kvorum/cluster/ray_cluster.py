"""The Ray cluster: found by its address, and how many workers it has room for."""

import contextlib
import dataclasses
import importlib
import importlib.util
import logging
import math
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from kvorum.cluster.options import ADDRESS, RayOptions
from kvorum.errors import KvorumError, first_line

PATIENCE = 5.0
"""Seconds in which a cluster must answer; Ray itself would wait for minutes."""

log = logging.getLogger(__name__)


def ray() -> Any:
    """The package, which is there only where the extra `ray` is installed."""
    return importlib.import_module("ray")


@dataclasses.dataclass(frozen=True)
class Node:
    """A machine of the cluster."""

    id: str
    address: str
    cpus: float
    gpus: float
    memory: float
    """Bytes that Ray counts on."""

    def room(self, cpus: float, gpus: float) -> int:
        """How many workers of so many CPU cores and GPUs it takes."""
        by_cpu = math.floor(self.cpus / cpus + 1e-9)
        if not gpus:
            return by_cpu
        # A worker's part of a GPU is of one: two of 0.6 do not make room for a third worker.
        by_gpu = math.floor(self.gpus) * math.floor(1 / gpus + 1e-9) if gpus < 1 else math.floor(self.gpus / gpus)
        return min(by_cpu, by_gpu)


@dataclasses.dataclass(frozen=True)
class Cluster:
    """A cluster that this process is connected to, and what each worker gets of it."""

    cpus: float
    gpus: float

    @property
    def nodes(self) -> list[Node]:
        """The machines that are alive now."""
        return [
            Node(
                id=node["NodeID"],
                address=node["NodeManagerAddress"],
                cpus=node["Resources"].get("CPU", 0.0),
                gpus=node["Resources"].get("GPU", 0.0),
                memory=node["Resources"].get("memory", 0.0),
            )
            for node in ray().nodes()
            if node["Alive"]
        ]

    @property
    def slots(self) -> int:
        """How many workers it takes now."""
        return sum(node.room(self.cpus, self.gpus) for node in self.nodes)


@contextlib.contextmanager
def connected(options: RayOptions, devices: Iterable[str] = ("auto",)) -> Iterator[Cluster]:
    """Be connected to the cluster that options name while a `with` block runs; `devices` are those that fits ask for.

    Raises `KvorumError` where Ray is not installed, no cluster answers, a worker asks for more than any of its
    machines has, or for a device that it does not get.
    """
    if importlib.util.find_spec("ray") is None:
        raise KvorumError("--ray needs the package ray; pip install 'kvorum[ray]'")
    assert options.ray is not None
    address = options.ray
    devices = set(devices)
    _refuse_numbered(devices)
    named = os.environ.get("RAY_ADDRESS", "") if address == "auto" else address
    if ADDRESS.fullmatch(named) and ":" in named:
        _refuse_silent(named)
    _init(address, options)
    try:
        yield _checked(options, address, devices)
    finally:
        ray().shutdown()


def _init(address: str, options: RayOptions) -> None:
    own: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
    if address == "local" and options.gpus_per_worker == 0:
        own["num_gpus"] = 0
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        ray().init(address=address, log_to_driver=False, logging_level=logging.ERROR, configure_logging=False, **own)
    except SystemExit as error:  # by which Ray says that it has waited long enough
        raise KvorumError(f"--ray {address}: no Ray cluster answers there") from error
    except (ConnectionError, RuntimeError, ValueError) as error:
        if address == "auto":
            raise KvorumError(
                "--ray auto: no Ray cluster runs on this machine; start one with: ray start --head, give its address "
                "HOST:PORT, or use --ray local"
            ) from error
        raise KvorumError(f"--ray {address}: {first_line(error)}") from error
    finally:
        _restore(handlers)


def _restore(handlers: Mapping[signal.Signals, Any]) -> None:
    """Ray would end this process at a signal, where a fit is asked to save what it has."""
    for number, handler in handlers.items():
        if handler is not None:
            with contextlib.suppress(ValueError):  # not in the main thread, where Ray sets none either
                signal.signal(number, handler)


def _refuse_silent(address: str) -> None:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE).close()
    except OSError as error:
        raise KvorumError(
            f"--ray {address}: no Ray cluster answers there ({error.strerror or error}); the address is what ray start "
            "--head prints, and its port is 6379 unless another was asked for"
        ) from error
    # Whatever else listens there would keep Ray waiting for minutes, and then end this process.
    asked = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address]
    try:
        found = subprocess.run(asked, capture_output=True, text=True, timeout=4 * PATIENCE, check=False)
        said = found.stderr.strip().rpartition("\n")[2] if found.returncode else ""
    except subprocess.TimeoutExpired:
        said = f"no answer within {4 * PATIENCE:.0f} s"
    if said:
        raise KvorumError(
            f"--ray {address}: something listens there, but it is no Ray cluster, or one that does not take us ({said})"
        )


def _refuse_numbered(devices: Collection[str]) -> None:
    """Raise `KvorumError` for a device that names one of several cards."""
    for device in devices:
        if ":" in device:
            raise KvorumError(
                f"device is {device}, and on a cluster Ray says which card a worker gets; say cuda or auto"
            )


def _checked(options: RayOptions, address: str, devices: Collection[str]) -> Cluster:
    some = Cluster(options.cpus_per_worker, 0.0).nodes
    most_cpus, most_gpus = max(n.cpus for n in some), max(n.gpus for n in some)
    gpus = options.gpus_per_worker
    if gpus is None:
        gpus = float(most_gpus > 0 and set(devices) != {"cpu"})
    if not gpus and "cuda" in devices:
        raise KvorumError(
            f"device is cuda, and a worker gets no GPU: the machines of the cluster at {address} have {most_gpus:g} at "
            "most, and --gpus-per-worker says how many of them a worker gets"
        )
    for asked, most, what in ((options.cpus_per_worker, most_cpus, "CPU cores"), (gpus, most_gpus, "GPUs")):
        if asked > most:
            option = "--cpus-per-worker" if what == "CPU cores" else "--gpus-per-worker"
            raise KvorumError(
                f"{option} {asked:g}: the largest of the {len(some)} machines of the cluster at {address} has "
                f"{most:g} {what}, and a worker is on one machine"
            )
    cluster = Cluster(options.cpus_per_worker, gpus)
    if not cluster.slots:
        raise KvorumError(
            f"no machine of the cluster at {address} has both {options.cpus_per_worker:g} CPU cores and {gpus:g} GPUs"
        )
    return cluster
