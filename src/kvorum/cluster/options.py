"""How work is spread: settings of where it is done, which change no result beyond rounding."""

import dataclasses
import re
from typing import ClassVar

from pydantic import ConfigDict

from kvorum.bounded import CONTROLS
from kvorum.errors import KvorumError

ADDRESS = re.compile(r"auto|local|[^\s/:]+:[0-9]{1,5}|\[[0-9a-fA-F:]+\]:[0-9]{1,5}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class RayOptions:
    """Where workers run, and what each of them gets."""

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    ray: str | None = None
    """Spread the work over a Ray cluster: its address HOST:PORT; auto: the one of this machine; local: start one."""
    cpus_per_worker: float = 1.0
    """CPU cores of a worker, the threads that it computes with."""
    gpus_per_worker: float | None = None
    """GPUs of a worker, 0.5 for half of one; default: 1 where the cluster has any."""

    def __post_init__(self) -> None:
        if self.ray is not None and (not ADDRESS.fullmatch(self.ray) or CONTROLS.search(self.ray)):
            raise KvorumError(f"ray is {self.ray[:60]!r}; expected auto, local, or the address HOST:PORT of a cluster")
        if not 0 < self.cpus_per_worker < 10_000:
            raise KvorumError(f"cpus_per_worker is {self.cpus_per_worker}; it must be above 0 and below 10,000")
        gpus = self.gpus_per_worker
        if gpus is not None and not (0 <= gpus < 1 or (gpus < 10_000 and gpus == int(gpus))):
            raise KvorumError(f"gpus_per_worker is {gpus}; expected a fraction below 1, or a whole number")


@dataclasses.dataclass(frozen=True, kw_only=True)
class GroupOptions(RayOptions):
    """How the members of a fit are spread."""

    __pydantic_config__: ClassVar = RayOptions.__pydantic_config__

    members_per_worker: int | None = None
    """Members that a worker fits together; default: as few as keep all workers busy, in a study all of a run. Without
    --ray, groups of so many are fitted one after another."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.members_per_worker is not None and self.members_per_worker < 1:
            raise KvorumError(f"members_per_worker is {self.members_per_worker}; it must be at least 1")

    @property
    def wanted(self) -> bool:
        """Whether members are to be spread at all."""
        return self.ray is not None or self.members_per_worker is not None


@dataclasses.dataclass(frozen=True, kw_only=True)
class LearnRayOptions(RayOptions):
    """How the seeds of an experiment are spread."""

    __pydantic_config__: ClassVar = RayOptions.__pydantic_config__

    seeds_per_worker: int = 1
    """With --ray, seeds that a worker fits together."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.seeds_per_worker < 1:
            raise KvorumError(f"seeds_per_worker is {self.seeds_per_worker}; it must be at least 1")
