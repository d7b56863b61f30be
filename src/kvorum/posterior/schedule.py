"""Learning-rate schedules."""

import math
from typing import Literal

Schedule = Literal["constant", "linear", "cosine"]


def learning_rate(step: int, steps: int, *, lr: float, schedule: Schedule, warmup: float) -> float:
    """The learning rate of a step (from 0) out of all steps.

    It rises linearly over the first `warmup` (a fraction) of the steps; then it stays, or falls linearly or as half a
    cosine to zero at the end.
    """
    rising = round(warmup * steps)
    if step < rising:
        return lr * (step + 1) / (rising + 1)
    if schedule == "constant":
        return lr
    done = (step - rising) / max(1, steps - rising)
    return lr * (1 - done) if schedule == "linear" else lr * 0.5 * (1 + math.cos(math.pi * done))
