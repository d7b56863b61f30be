"""A file of questions to be labelled."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from kvorum.errors import KvorumError
from kvorum.files import atomic
from kvorum.tasks import Question

SUFFIXES = (".jsonl", ".csv")


def check_place(path: str | Path) -> Path:
    """The path of a file to write; raises `KvorumError` where it cannot be, or is there already."""
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise KvorumError(f"{path}: a file to label ends in {' or '.join(SUFFIXES)}")
    if path.exists():
        raise KvorumError(f"{path} is there already, and labels in it would be lost; choose another --out")
    if not path.parent.is_dir():
        raise KvorumError(f"{path}: the folder {path.parent} does not exist; make it first, or write elsewhere")
    return path


def write_to_label(
    path: str | Path, questions: Sequence[Question], scores: Mapping[str, Float64[np.ndarray, "question"]]
) -> None:
    """Write questions, in their order, with an empty `answer`, and columns of scores beside.

    JSON Lines with `choices` as a list, or CSV with choice_0, choice_1, ...: as `load_task` reads them.

    Raises `KvorumError` for a file that is there already.
    """
    path = check_place(path)
    write = _write_jsonl if path.suffix.lower() == ".jsonl" else _write_csv
    values = [{name: float(column[i]) for name, column in scores.items()} for i in range(len(questions))]
    with atomic(path) as temporary:
        write(temporary, questions, values)


def _write_jsonl(path: Path, questions: Sequence[Question], scores: Sequence[Mapping[str, float]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for q, values in zip(questions, scores, strict=True):
            row = {"id": q.id, "question": q.question, "choices": list(q.choices), "answer": None, "subject": q.subject}
            file.write(json.dumps(row | dict(values), ensure_ascii=False, allow_nan=False) + "\n")


def _write_csv(path: Path, questions: Sequence[Question], scores: Sequence[Mapping[str, float]]) -> None:
    width = max(len(q.choices) for q in questions)
    columns = ["id", "question", *(f"choice_{i}" for i in range(width)), "answer", "subject", *scores[0]]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for q, values in zip(questions, scores, strict=True):
            choices = [*q.choices, *[""] * (width - len(q.choices))]
            writer.writerow([q.id, q.question, *choices, "", q.subject, *values.values()])
