"""Every random number comes from what it is for, never from how far a process has run."""

import enum

import numpy as np


class Stream(enum.IntEnum):
    """What a random number is for; the values are part of what a seed means and never change."""

    INITIALISATION = 1
    ORDER = 2
    DROPOUT = 3
    BOOTSTRAP = 4
    FIRST_LABELS = 5
    CANDIDATES = 6
    ACQUISITION = 7
    RANDOM_LABELS = 8


def generator_seed(seed: int, stream: Stream, *path: int) -> int:
    """A 63-bit seed for a generator of its own, from the run's seed, the stream and a path such as (member, epoch).

    Two different paths give independent generators (`numpy.random.SeedSequence`).
    """
    state = np.random.SeedSequence((seed, int(stream), *path)).generate_state(1, np.uint64)
    return int(state[0] >> np.uint64(1))
