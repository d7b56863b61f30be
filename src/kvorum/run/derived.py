"""The numbers that follow from predictions, kept beside them."""

import functools
import json
import logging
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from kvorum.bounded import read_bounded
from kvorum.facts import PredictionFacts, check_facts
from kvorum.files import atomic
from kvorum.predictions import Predictions
from kvorum.run.manifest import content_digest
from kvorum.uncertainty import separation, summarize

# Counts up whenever the numbers that are kept change in kind.
FORMAT = 3

LARGEST = 16 * 2**20
"""Bytes of a file of numbers."""

log = logging.getLogger(__name__)


class Derived(TypedDict):
    """What follows from predictions at one reading of the files."""

    numbers: dict[str, Any]
    separation: dict[str, Any] | None
    facts: dict[str, Any]
    questions_sha256: str


def derive(file: Path, inside: Path | None, digest: str) -> Derived:
    """What follows from a file of predictions, and from the fitted task's; kept in a file beside it.

    `digest` tells the files' contents from others: what is kept under another is computed again, as is what is damaged.
    """
    kept = file.with_suffix(".numbers.json")
    if (found := _kept(kept, digest)) is not None:
        return found
    predictions = Predictions.load(file)
    derived = {
        "facts": predictions.facts,
        "questions_sha256": predictions.questions_digest(),
        "numbers": summarize(predictions.probs, predictions.rest, predictions.answers),
        "separation": separation(Predictions.load(inside), predictions) if inside is not None else None,
    }
    # As JSON has it: the same now as when it is read again.
    content = json.loads(json.dumps({"format": FORMAT, "predictions_sha256": digest, **derived}))
    try:
        with atomic(kept) as temporary:
            temporary.write_text(json.dumps(content | {"sha256": content_digest(content)}), encoding="utf-8")
    except OSError as error:
        # A run on a read-only disk can still be read.
        log.warning("%s could not be kept and will be computed again: %s", kept, error)
    return _derived(content)


def _kept(file: Path, digest: str) -> Derived | None:
    """What was derived from predictions of a digest, unless it was derived from others, or by another version."""
    if not file.is_file():
        return None
    try:
        found = json.loads(read_bounded(file, LARGEST))
        if found["format"] != FORMAT or found["predictions_sha256"] != digest:
            return None
        if found.pop("sha256") != content_digest(found):
            raise ValueError("its checksum is another")
        return _derived(found)
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        log.warning("%s is damaged and is made again: %s", file, error)
        return None


@functools.cache
def _shape_of_numbers() -> Any:
    return _shape(summarize(np.full((2, 2, 2), 0.5), np.zeros((2, 2)), np.array([0, 1])))


@functools.cache
def _shape_of_separation() -> Any:
    either = Predictions(
        probs=np.full((1, 1, 2), 0.5),
        rest=np.zeros((1, 1)),
        answers=np.array([0]),
        ids=("",),
        subjects=("",),
        questions=("",),
        choices=(("", ""),),
        facts={},
    )
    return _shape(separation(either, either, resamples=1))


def _shape(value: Any) -> Any:
    """Which names lie within which, and where there are numbers: the same for any predictions."""
    if isinstance(value, dict):
        return {name: _shape(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return sorted({str(_shape(inner)) for inner in value})
    number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
    return "number" if value is None or number else "other"


def _derived(content: dict[str, Any]) -> Derived:
    """Raises ValueError where somebody else wrote it, and of another shape."""
    apart = content["separation"]
    if _shape(content["numbers"]) != _shape_of_numbers() or (
        apart is not None and _shape(apart) != _shape_of_separation()
    ):
        raise ValueError("its numbers are not those of predictions")
    if not isinstance(content["facts"], dict) or not isinstance(content["questions_sha256"], str):
        raise ValueError("its facts are not those of predictions")
    numbers = content["numbers"]
    if not all(
        type(numbers[name]) is int and 0 <= numbers[name] < 10**7 for name in ("questions", "labelled", "members")
    ):
        raise ValueError("its numbers are not those of predictions")
    check_facts(PredictionFacts, content["facts"], "facts", members=numbers["members"])
    return Derived(
        numbers=content["numbers"],
        separation=content["separation"],
        facts=content["facts"],
        questions_sha256=content["questions_sha256"],
    )
