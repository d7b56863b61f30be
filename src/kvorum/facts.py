"""What is found besides settings and lands in files as plain values: held to its types before it is believed.

More names than these may be there; they are shown, and nothing is computed from them.
"""

import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

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
    start_digest: str | None = None
    """Of the posterior that it started from, if that is not the prior,"""
    warm_start_epoch: int | None = None
    """and which epoch of its run that is."""
    imported: list[str] = []
    """Where the adapters come from, if they were fitted elsewhere."""


class PredictionFacts(_Facts):
    """In a prediction file's metadata."""

    members: list[Annotated[int, Field(ge=0, lt=10**6)]] = []
    diverged: dict[Annotated[str, Field(pattern="^[0-9]{1,6}$")], str] = {}
    trained_on: bool = False
    trained_on_questions: int = 0
    source: str | None = None


def check_facts(kind: type[_Facts], facts: Mapping[str, Any], where: str, *, members: int | None = None) -> None:
    """Raise `KvorumError`, beginning with `where`, for a fact that is not what its name says.

    `members`: how many there are, if the facts number them.
    """
    if members is not None and isinstance(facts.get("members"), list) and len(facts["members"]) != members:
        raise KvorumError(f"{where}: members numbers {len(facts['members'])} of them; there are {members}")
    try:
        # Half a character, which JSON can spell, is no text that a page or a terminal can show.
        json.dumps(facts, ensure_ascii=False, default=str).encode()
        kind.model_validate(dict(facts))
    except UnicodeEncodeError:
        raise KvorumError(f"{where}: holds half a character (a lone surrogate)") from None
    except ValidationError as error:
        raise KvorumError(f"{where}: {describe_errors(error)}") from None
