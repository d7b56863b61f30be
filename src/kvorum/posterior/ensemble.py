"""The members of an ensemble and how questions are put to them: all of a posterior but the base model."""

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kvorum.adapters import AdapterStack
from kvorum.engine.score import Normalisation
from kvorum.posterior.scoring import Compile, NobodyAnswers, Probabilities
from kvorum.predictions import Predictions
from kvorum.tasks import Prompt, Question

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ensemble:
    """The adapters of the members, and how questions are put to them."""

    stack: AdapterStack
    prompt: Prompt
    normalisation: Normalisation = "sum"
    """Text format only: a candidate's log-likelihood is the sum over its tokens, or their mean."""
    token_budget: int | None = None
    """Most tokens in a pass; None = by device."""
    compile: Compile = "auto"
    """Whether to run the model's layers compiled; auto: where enough tokens follow."""
    fitted_on: frozenset[tuple[str, tuple[str, ...]]] = frozenset()
    """Question and choices of what it was fitted on, where known."""
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Of the run: model, seed, epoch, ...; they go into every prediction's metadata."""

    def predictions(
        self, questions: Sequence[Question], scores: Probabilities, source: Mapping[str, Any] | None = None
    ) -> Predictions:
        """The predictions that a scorer's probabilities make; members whose probabilities are not finite are left out.

        `source`: facts of the task. Raises `KvorumError` where no member's are finite.
        """
        probs, rest = scores
        members = [self.stack.members[i] for i in self.stack.active]
        diverged = dict(self.stack.diverged)
        finite = np.asarray(np.isfinite(probs).all((1, 2)) & np.isfinite(rest).all(1))
        if not finite.any():
            raise NobodyAnswers("no member's probabilities are finite, so nothing can answer; fit with a lower --lr")
        if not finite.all():
            # Its last step went too far, and no gradient has been taken since that would have shown it.
            lost = [member for member, fine in zip(members, finite, strict=True) if not fine]
            diverged |= dict.fromkeys(lost, "its predictions are not finite")
            log.warning("members %s are left out: their predictions are not finite", lost)
            probs, rest = probs[finite], rest[finite]
        seen = sum((q.question, q.choices) in self.fitted_on for q in questions)
        return Predictions(
            probs=probs,
            rest=rest,
            answers=np.array([-1 if q.answer is None else q.answer for q in questions], dtype=np.int64),
            ids=tuple(q.id for q in questions),
            subjects=tuple(q.subject for q in questions),
            questions=tuple(q.question for q in questions),
            choices=tuple(q.choices for q in questions),
            facts=self.facts
            | dict(source or {})
            | {
                "members": [member for member in members if member not in diverged],
                "diverged": {str(member): why for member, why in diverged.items()},
                "answer_format": self.prompt.answer_format,
                "normalisation": self.normalisation,
                "trained_on": seen > 0,
                "trained_on_questions": seen,
            },
        )
