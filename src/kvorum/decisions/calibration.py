"""What held-out questions have said of an ensemble: where to stop answering, and which answers to name together."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from kvorum.bounded import read_bounded
from kvorum.config import describe_errors
from kvorum.errors import KvorumError
from kvorum.files import atomic
from kvorum.predictions import Predictions
from kvorum.uncertainty.conformal import METHODS, ConformalMethod
from kvorum.uncertainty.doubt import Doubt

FORMAT = "kvorum calibration 1"
LARGEST = 2**20
"""Bytes of a file."""
SAME = (
    "model",
    "base_revision",
    "fitted_on",
    "seed",
    "epoch",
    "members",
    "answer_format",
    "normalisation",
    "prompt_template",
    "chat",
)
"""Facts of predictions in which those that are decided on must be as those that were calibrated on."""

CHECKED = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
Share = Annotated[float, Field(ge=0, le=1)]
Nats = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=0)]


@dataclass(frozen=True, kw_only=True, config=CHECKED)
class AnswerRule:
    """Answer what has at most so much doubt, and what that is known to cost."""

    asked: Literal["target_risk", "coverage"]
    target: Share
    """The risk not to exceed, or the share to answer."""
    score: Doubt
    threshold: Nats
    answered: Count
    """Of the calibration questions."""
    wrong: Count
    """Of those answered."""
    risk_bound: Share
    """What the risk on answered questions does not exceed, with the confidence."""
    coverage_bound: Share | None
    """What the share of answered questions does not fall below, with the confidence; None where risk was asked for."""
    aurc: dict[Doubt, Share]
    """Area under the risk-coverage curve by each score of doubt, on the calibration questions."""
    excess_aurc: dict[Doubt, Share]
    """The same minus that of a score that doubts exactly the wrong answers."""


@dataclass(frozen=True, kw_only=True, config=CHECKED)
class SetRule:
    """Name the candidates that fit no worse than a threshold."""

    threshold: Annotated[float, Field(ge=0)] | None
    """None where there were too few questions: every candidate is named."""
    coverage_bound: Share
    """What the coverage does not fall below, with the confidence, for the calibration questions that there were."""


@dataclass(frozen=True, kw_only=True, config=CHECKED)
class Calibration:
    """An ensemble's rules of decision, from held-out questions, with their guarantees.

    Guarantees are over questions drawn as the calibration questions were drawn. With a temperature, fitted on the same
    questions, those that depend on probabilities (`one_minus_top` and the sets) hold nearly.
    """

    task: str
    split: str
    questions: Annotated[int, Field(ge=1)]
    """Held out, with a known answer."""
    questions_sha256: str
    left_out: Count
    """Of the task's questions: fitted on, or without a known answer."""
    fitted_ids: tuple[str, ...] = ()
    """Those of them that were fitted on."""
    confidence: Annotated[float, Field(gt=0, lt=1)]
    temperature: Annotated[float, Field(gt=0)]
    """Of the mean's probabilities; 1 = as they are."""
    answer: AnswerRule
    alpha: Annotated[float, Field(gt=0, lt=1)]
    """What share of sets may miss the right answer."""
    sets: dict[ConformalMethod, SetRule]
    entropy_cut: Nats
    """Median on the calibration questions: above it, doubt is called torn,"""
    mi_cut: Nats
    """and above this one disputed."""
    facts: dict[str, Any]
    """Of the predictions: whose answers these rules are for."""
    adapters_sha256: str | None = None
    """The adapters' file in the run."""
    kvorum: str = ""
    """The version that wrote it."""

    def __post_init__(self) -> None:
        if missing := [method for method in METHODS if method not in self.sets]:
            raise KvorumError(f"sets has no '{missing[0]}'")

    def held_out(self, predictions: Predictions) -> Predictions | None:
        """The calibration questions among predictions; None where they are not just these."""
        fitted = set(self.fitted_ids)
        rows = predictions.labelled & np.array([name not in fitted for name in predictions.ids], dtype=bool)
        found = predictions.select(examples=rows)
        if not len(found) or found.questions_digest() != self.questions_sha256:
            return None
        return dataclasses.replace(found, facts=found.facts | {"trained_on": False, "trained_on_questions": 0})

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return dataclasses.asdict(self) | {"fitted_ids": list(self.fitted_ids)}

    def save(self, path: str | Path) -> None:
        """Write a JSON file."""
        with atomic(path) as temporary:
            text = json.dumps({"format": FORMAT} | self.as_dict(), indent=1, allow_nan=False)
            temporary.write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> "Calibration":
        """Read what `save` wrote. Raises `KvorumError` for a file that is missing, damaged or something else."""
        try:
            content = json.loads(read_bounded(Path(path), LARGEST))
            if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
                raise KvorumError(f"{path}: is no calibration that this kvorum wrote")
            # As JSON: from Python values strict checks take no dictionary for a dataclass.
            return TypeAdapter(cls).validate_json(json.dumps(content))
        except FileNotFoundError:
            raise KvorumError(f"{path}: there is no such file") from None
        except ValidationError as error:
            raise KvorumError(f"{path}: {describe_errors(error)}") from None
        except (OSError, ValueError, RecursionError) as error:
            if isinstance(error, KvorumError):
                raise
            raise KvorumError(f"{path}: is no calibration, or a damaged one ({error})") from None

    def check_fits(self, predictions: Predictions) -> None:
        """Raise `KvorumError` for answers of another ensemble than the one calibrated."""
        for name in SAME:
            there, here = self.facts.get(name), predictions.facts.get(name)
            if there is not None and here is not None and there != here:
                raise KvorumError(
                    f"this was calibrated for {name} {str(there)[:80]}, and the answers are of {str(here)[:80]}; "
                    "calibrate again"
                )
