"""The scores of doubt that an answer can be withheld by, all "higher = more uncertain".

one_minus_top        1 - the ensemble's probability of its answer, 0 to 1
predictive_entropy   all of the doubt, in nats
expected_entropy     what every member has of it (aleatoric), in nats
mutual_information   what the members disagree on (epistemic), in nats
"""

from typing import Literal, get_args

import numpy as np
from jaxtyping import Float, Float64

from kvorum.errors import KvorumError, nearest
from kvorum.uncertainty.calibration import confidence
from kvorum.uncertainty.entropy import expected_entropy, mutual_information, predictive_entropy

Doubt = Literal["one_minus_top", "predictive_entropy", "expected_entropy", "mutual_information"]
DOUBTS: tuple[Doubt, ...] = get_args(Doubt)

ENTROPIES = {
    "predictive_entropy": predictive_entropy,
    "expected_entropy": expected_entropy,
    "mutual_information": mutual_information,
}


def doubt(
    name: str,
    probs: Float[np.ndarray, "member example candidate"],
    rest: Float[np.ndarray, "member example"],
) -> Float64[np.ndarray, "example"]:
    """A score of doubt of every question. Raises `KvorumError` for a name that is none."""
    if name == "one_minus_top":
        return 1.0 - confidence(probs.mean(axis=0, dtype=np.float64))
    if name not in ENTROPIES:
        raise KvorumError(f"'{name}' is no score of doubt{nearest(name, DOUBTS)}")
    return ENTROPIES[name](probs, rest)
