"""Which questions to label next: one function a file, one signature, higher = more wanted."""

from collections.abc import Mapping
from typing import Protocol

from kvorum.acquisition.mutual_information import mutual_information
from kvorum.acquisition.names import ACQUISITION_NAMES, NEED_HIDDEN, AcquisitionName
from kvorum.acquisition.pool import Batch, Pool


class Acquisition(Protocol):
    """Chooses a batch from a pool; `seed` draws the lots."""

    def __call__(self, pool: Pool, count: int, *, seed: int = 0) -> Batch: ...  # noqa: D102


ACQUISITIONS: Mapping[AcquisitionName, Acquisition] = {"mutual_information": mutual_information}

__all__ = ["ACQUISITIONS", "ACQUISITION_NAMES", "NEED_HIDDEN", "Acquisition", "AcquisitionName", "Batch", "Pool"]
