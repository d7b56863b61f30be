"""Which questions to label next: one function a file, one signature, higher = more wanted."""

from collections.abc import Mapping
from typing import Protocol

from kvorum.acquisition.batch_bald import batch_bald
from kvorum.acquisition.entropy import entropy
from kvorum.acquisition.k_centre import k_centre
from kvorum.acquisition.least_confidence import least_confidence
from kvorum.acquisition.margin import margin
from kvorum.acquisition.mutual_information import mutual_information
from kvorum.acquisition.names import ACQUISITION_NAMES, NEED_HIDDEN, AcquisitionName
from kvorum.acquisition.pool import Batch, Pool
from kvorum.acquisition.power_bald import power_bald
from kvorum.acquisition.random import random


class Acquisition(Protocol):
    """Chooses a batch from a pool; `seed` draws the lots.

    Raises `KvorumError` for a count below 1; of a pool smaller than the count, the whole is chosen.
    """

    def __call__(self, pool: Pool, count: int, *, seed: int = 0) -> Batch: ...  # noqa: D102


ACQUISITIONS: Mapping[AcquisitionName, Acquisition] = {
    "random": random,
    "entropy": entropy,
    "margin": margin,
    "least_confidence": least_confidence,
    "mutual_information": mutual_information,
    "power_bald": power_bald,
    "batch_bald": batch_bald,
    "k_centre": k_centre,
}

__all__ = ["ACQUISITIONS", "ACQUISITION_NAMES", "NEED_HIDDEN", "Acquisition", "AcquisitionName", "Batch", "Pool"]
