"""One number that makes an ensemble's mean as sure as it is right: temperature scaling.

    p_T(c) = p(c)^(1/T) / sum over candidates and rest of p^(1/T)

T > 1 makes answers less sure, T < 1 surer; none changes which answer is given, nor the members. Fitted by the least NLL
on held-out questions. Guo et al., "On calibration of modern neural networks", arXiv 1706.04599.
"""

import numpy as np
from jaxtyping import Float64, Int64

from kvorum.uncertainty.scores import SMALLEST, nll

LOWEST, HIGHEST = 0.05, 20.0


def at_temperature(
    mean: Float64[np.ndarray, "example candidate"], rest: Float64[np.ndarray, "example"], temperature: float
) -> tuple[Float64[np.ndarray, "example candidate"], Float64[np.ndarray, "example"]]:
    """The mean's probabilities and its rest at a temperature; what was 0 stays 0."""
    if temperature == 1.0:
        return mean, rest
    whole = np.concatenate([mean, rest[:, None]], axis=1)
    logs = np.log(np.maximum(whole, SMALLEST)) / temperature
    scaled = np.where(whole > 0, np.exp(logs - logs.max(axis=1, keepdims=True)), 0.0)
    scaled /= scaled.sum(axis=1, keepdims=True)
    return scaled[:, :-1], scaled[:, -1]


def fit_temperature(
    mean: Float64[np.ndarray, "example candidate"],
    rest: Float64[np.ndarray, "example"],
    answers: Int64[np.ndarray, "example"],
) -> float:
    """The temperature of least NLL, from 0.05 to 20."""
    from scipy.optimize import minimize_scalar

    def cost(log_temperature: float) -> float:
        return float(nll(at_temperature(mean, rest, float(np.exp(log_temperature)))[0], answers).mean())

    # The NLL has one minimum along 1/T, since it is convex there.
    found = minimize_scalar(cost, bounds=(np.log(LOWEST), np.log(HIGHEST)), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))
