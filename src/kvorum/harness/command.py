"""The harness's own command, with kvorum among its models."""

import importlib.util
import logging
import sys
from collections.abc import Sequence

from kvorum.errors import KvorumError

NAME = "kvorum"
MODEL = "kvorum.harness.model:EnsembleLM"


def register() -> None:
    """Let the harness know the model, where it has not found the entry point by itself.

    Raises `KvorumError` where the harness is not installed.
    """
    if importlib.util.find_spec("lm_eval") is None:
        raise KvorumError("lm-evaluation-harness is not installed: pip install 'kvorum[eval]'")
    from lm_eval.api.registry import model_registry

    if NAME not in model_registry:
        model_registry.register(NAME, target=MODEL)


def run(arguments: Sequence[str]) -> None:
    """`lm_eval` with these arguments, in this process.

    Raises `KvorumError` for what the harness cannot read, write or fetch, for a task that it does not know, and for one
    of a kind that kvorum does not score.
    """
    register()
    from lm_eval.__main__ import cli_evaluate

    before = sys.argv
    sys.argv = ["lm_eval", *arguments]
    try:
        cli_evaluate()
    except KvorumError:
        raise
    except (OSError, ValueError, NotImplementedError) as error:
        logging.getLogger(__name__).debug("traceback", exc_info=True)
        said = " ".join(str(error).split()) or type(error).__name__
        raise KvorumError(f"lm-eval: {said}") from error
    finally:
        sys.argv = before
