"""The hub's many exceptions as one line."""

from collections.abc import Iterator
from contextlib import contextmanager

from kvorum.errors import KvorumError


@contextmanager
def hub_errors(what: str) -> Iterator[None]:
    """Raise what goes wrong between here and the hub as a `KvorumError` that begins with `what`."""
    try:
        yield
    except KvorumError:
        raise
    except _failures() as error:
        raise KvorumError(f"{what}: {' '.join(str(error).split())[:300] or type(error).__name__}") from error


def _failures() -> tuple[type[Exception], ...]:
    from huggingface_hub.errors import HfHubHTTPError

    # Whichever HTTP client the hub's library is built on, its errors are among the bases.
    return OSError, ValueError, *HfHubHTTPError.__bases__
