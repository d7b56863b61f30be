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
# Their places are part of what a seed means, so that new ones are added at the end.
ACQUISITION_NAMES: tuple[AcquisitionName, ...] = get_args(AcquisitionName)
NEED_HIDDEN: frozenset[AcquisitionName] = frozenset({"k_centre"})
"""Those that look at hidden states."""
