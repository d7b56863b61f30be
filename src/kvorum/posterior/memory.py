"""Going on where a GPU's memory does not hold a pass: with fewer tokens in it."""

import logging
from collections.abc import Callable
from typing import TypeVar

import torch

from kvorum.errors import KvorumError

Result = TypeVar("Result")

log = logging.getLogger(__name__)


def within_memory(attempt: Callable[[int], Result], budget: int, *, longest: int) -> tuple[Result, int]:
    """What `attempt` gives with a token budget per pass, and that budget: the first that fits of it, its half, ...

    `attempt` must leave nothing behind when it runs out of memory. `longest`: the tokens of the longest question, which
    goes through the model whole.

    Raises `KvorumError` where even passes of one question do not fit.
    """
    while True:
        try:
            return attempt(budget), budget
        except RuntimeError as error:
            if not _is_lack_of_memory(error):
                raise
            if budget <= longest:
                raise KvorumError(
                    f"the GPU's memory does not hold even one question of {longest} tokens beside the model and its "
                    "adapters; say --gradient-checkpointing or --quantize 4bit, fit fewer --members, a lower --rank or "
                    f"fewer --targets, or a smaller model, or leave long questions out ({_first_line(error)})"
                ) from error
            reason = _first_line(error)
        # Only here, out of reach of the error, is the failed pass free to go.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        log.warning("out of memory with %d tokens in a pass; going on with %d (%s)", budget, budget // 2, reason)
        budget //= 2


def _is_lack_of_memory(error: RuntimeError) -> bool:
    """Whether a GPU has no more memory: PyTorch's own allocator says so by type, cuBLAS and the driver in words."""
    said = str(error)
    return (
        isinstance(error, torch.OutOfMemoryError)
        or "CUBLAS_STATUS_ALLOC_FAILED" in said
        or ("CUDA error: out of memory" in said)
    )


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0]
