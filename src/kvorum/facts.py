"""What is found besides settings and lands in files as plain values: held to its types before it is believed.

More names than these may be there; they are shown, and nothing is computed from them.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from kvorum.config import describe_errors
from kvorum.errors import KvorumError


class _Facts(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)


class Drift(_Facts):
    """A time when a run was gone on with although something was other than before."""

    at: str
    after: str
    differs: list[str]
    """What may change results at will,"""
    rounding: list[str] = []
    """and what changes them by rounding."""


class RunFacts(_Facts):
    """Under `facts` in config.yaml."""

    kvorum: str | None = None
    torch: str | None = None
    transformers: str | None = None
    base_revision: str | None = None
    prompt_template: str | None = None
    task: str | None = None
    evaluation_tasks: list[str] = []
    train_questions: int = 0
    steps_per_epoch: int = 0
    started: str | None = None
    drift: list[Drift] = []
    lost: list[str] = []


class PredictionFacts(_Facts):
    """In a prediction file's metadata."""

    members: list[int] | None = None
    diverged: dict[str, str] = {}
    trained_on: bool = False
    trained_on_questions: int = 0
    source: str | None = None


def check_facts(kind: type[_Facts], facts: Mapping[str, Any], where: str) -> None:
    """Raise `KvorumError`, beginning with `where`, for a fact that is not what its name says."""
    try:
        kind.model_validate(dict(facts))
    except ValidationError as error:
        raise KvorumError(f"{where}: {describe_errors(error)}") from None
