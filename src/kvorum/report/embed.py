"""The questions and what was answered, packed so that thousands of them fit in a page.

Texts stand once a task; numbers stand per epoch as base64 of little-endian integers, scaled to the largest value. The
page unpacks a task at an epoch only when it is looked at.

What the page can derive it is not given: whether an answer is right, what became of a question since epoch 0, and its
total variation. It is given quadrants, since rounded numbers could fall on the other side of a cut, and KL, which takes
probabilities that rounding makes zero.
"""

import base64
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from kvorum.report.analysis import Studied
from kvorum.report.evaluations import Evaluation

MEMBER_PROBABILITIES_BYTES = 4_000_000
"""Room in the page for the probabilities of every single member: the newest epochs get it first."""


def embed(tasks: Sequence[Sequence[Studied]], member_bytes: int = MEMBER_PROBABILITIES_BYTES) -> dict[str, Any]:
    """Blocks of JSON-able data by name: `index`, and `texts-T`, `answers-T-E` for each task and epoch by number.

    An epoch's members' probabilities are left out where they would take more than what is left of `member_bytes`.
    """
    detailed = _within([of.evaluation for task in tasks for of in task], member_bytes)
    blocks: dict[str, Any] = {"index": []}
    for number, task in enumerate(tasks):
        places, texts = _texts([of.evaluation for of in task])
        blocks[f"texts-{number}"] = texts
        blocks["index"].append(
            {
                "task": task[0].task,
                "title": task[0].evaluation.title,
                "epochs": [of.epoch for of in task],
            }
        )
        for of in task:
            evaluation = of.evaluation
            rows = [places[question] for question in evaluation.keys]
            answers = _answers(evaluation, members=(of.task, of.epoch) in detailed)
            answers["quadrant"] = pack(of.quadrant, whole=True)
            if of.epoch and of.change is not None:
                answers["kl"] = pack(np.nan_to_num(of.change.kl))
            if rows != list(range(len(texts["questions"]))):
                answers["rows"] = pack(np.array(rows), whole=True)
            blocks[f"answers-{number}-{of.epoch}"] = answers
    return blocks


def safe_json(data: Any) -> str:
    """JSON that cannot end the script element it stands in, nor open a comment there."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


def pack(values: np.ndarray, *, whole: bool = False) -> dict[str, Any]:
    """Numbers of at least 0 as `{"bytes": 1 or 2 or 4, "scale": largest / greatest integer, "data": base64}`.

    Whole numbers are kept as they are; others are rounded to the 65,535th part of the largest.
    """
    values = np.asarray(values).ravel()
    largest = float(values.max()) if values.size else 0.0
    if whole:
        width = 1 if largest < 2**8 else 2 if largest < 2**16 else 4
        scale = 1.0
    else:
        width, scale = 2, largest / 65535 or 1.0
    integers = np.round(values / scale).astype(f"<u{width}")
    return {"bytes": width, "scale": scale, "data": base64.b64encode(integers.tobytes()).decode("ascii")}


def _texts(task: Sequence[Evaluation]) -> tuple[dict[tuple, int], dict[str, Any]]:
    """The task's questions, each once, and where each stands: an epoch may have been scored on fewer than another."""
    places: dict[tuple, int] = {}
    subjects: list[str] = []
    for evaluation in task:
        for key, subject in zip(evaluation.keys, evaluation.predictions.subjects, strict=True):
            if key not in places:
                places[key] = len(places)
                subjects.append(subject)
    return places, {
        "ids": [key[0] for key in places],
        "questions": [key[1] for key in places],
        "choices": [list(key[2]) for key in places],
        "answers": [key[3] for key in places],
        "subjects": subjects if any(subjects) else [],
    }


def _answers(evaluation: Evaluation, *, members: bool) -> dict[str, Any]:
    predictions = evaluation.predictions
    real = np.arange(predictions.probs.shape[2]) < _counts(evaluation)[:, None]
    data: dict[str, Any] = {
        "members": evaluation.members,
        "fitted": evaluation.fitted_on,
        "entropy": pack(predictions.predictive_entropy),
        "expected": pack(predictions.expected_entropy),
        "information": pack(predictions.mutual_information),
        "predicted": pack(predictions.predicted, whole=True),
        "votes": pack(predictions.probs.argmax(axis=2).T, whole=True),
        "mean": pack(predictions.mean[real]),
    }
    if predictions.rest.any():
        data["rest"] = pack(predictions.mean_rest)
    if members:
        data["each"] = pack(
            predictions.probs.transpose(1, 0, 2)[np.broadcast_to(real[:, None], _by_question(predictions.probs))]
        )
        if predictions.rest.any():
            data["each_rest"] = pack(predictions.rest.T)
    return data


def _by_question(probs: np.ndarray) -> tuple[int, int, int]:
    members, examples, candidates = probs.shape
    return examples, members, candidates


def _counts(evaluation: Evaluation) -> np.ndarray:
    return np.array([len(choices) for choices in evaluation.predictions.choices])


def _within(evaluations: Sequence[Evaluation], room: int) -> set[tuple[str, int]]:
    """The tasks and epochs whose members' probabilities are embedded: whole epochs, newest first, while they fit."""
    kept: set[tuple[str, int]] = set()
    for epoch in sorted({evaluation.epoch for evaluation in evaluations}, reverse=True):
        here = [evaluation for evaluation in evaluations if evaluation.epoch == epoch]
        # Two bytes a number, and base64 makes four letters of three bytes.
        numbers = sum(int(_counts(each).sum() + len(each.predictions)) * each.predictions.members for each in here)
        room -= numbers * 8 // 3
        if room < 0:
            break
        kept |= {(each.task, each.epoch) for each in here}
    return kept
