"""The acquisition functions by their names."""

from typing import Literal, get_args

AcquisitionName = Literal[
    "random",
    "entropy",
    "margin",
    "least_confidence",
    "mutual_information",
    "power_bald",
    "batch_bald",
    "k_centre",
]
ACQUISITION_NAMES: tuple[AcquisitionName, ...] = get_args(AcquisitionName)
NEED_HIDDEN: frozenset[AcquisitionName] = frozenset({"k_centre"})
"""Those that look at hidden states."""
