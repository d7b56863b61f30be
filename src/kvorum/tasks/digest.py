"""Whether questions are the ones that they were."""

import hashlib
import json
from collections.abc import Iterable

from kvorum.tasks.question import Question


def digest(questions: Iterable[Question], *, ids: bool = False) -> str:
    """The SHA-256 of questions in their order: texts, choices, answers and subjects, and on request ids."""
    whole = hashlib.sha256()
    for q in questions:
        whole.update(json.dumps([*([q.id] if ids else []), q.question, q.choices, q.answer, q.subject]).encode())
    return whole.hexdigest()
