"""Published question sets by name, read from the Hugging Face hub or from a local mirror of it in the same schema."""

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kvorum.errors import KvorumError, nearest
from kvorum.tasks import mmlu
from kvorum.tasks.parquet import read_parquet
from kvorum.tasks.question import Question, Task

logger = logging.getLogger(__name__)

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class PublishedTask:
    """Where a published set lies on the hub, and how a row of it becomes a question."""

    hub_id: str
    config: str
    train_split: str
    """Empty where the set has no train split that one would fit on."""
    test_split: str
    columns: tuple[str, ...]
    read: Callable[[Row, str], Question]
    """From a row and the id it gets if it has none."""
    subjects: tuple[str, ...] = ()
    """The subjects kept; all where empty."""


def _read_labelled(row: Row, id: str) -> Question:
    """Choices as parallel lists of texts and labels, the answer as a label: "A", or "1" in parts of ARC."""
    match row:
        case {
            "choices": {"text": [*texts], "label": [*labels]},
            "answerKey": str(key),
            "question": str(question),
        } | {
            "choices": {"text": [*texts], "label": [*labels]},
            "answerKey": str(key),
            "question_stem": str(question),
        }:
            pass
        case _:
            raise _foreign_row(row)
    if key and key not in labels:
        raise KvorumError(f"'answerKey' is '{key}', which is none of the labels {', '.join(map(str, labels))}")
    answer = labels.index(key) if key else None
    return Question(id=str(row.get("id") or id), question=question, choices=_choices(row, texts), answer=answer)


def _read_mmlu(row: Row, id: str) -> Question:
    match row:
        case {"question": str(question), "subject": str(subject), "choices": [*texts], "answer": int(answer)}:
            return Question(id=id, question=question, choices=_choices(row, texts), answer=answer, subject=subject)
    raise _foreign_row(row)


def _choices(row: Row, texts: Sequence[Any]) -> tuple[str, ...]:
    if not all(isinstance(text, str) for text in texts):
        raise _foreign_row(row)
    return tuple(text.strip() for text in texts)  # blanks around a choice say nothing


def _foreign_row(row: Row) -> KvorumError:
    return KvorumError(f"not a row in the schema of the published set: {str(dict(row))[:200]}")


def _mmlu(subjects: tuple[str, ...] = ()) -> PublishedTask:
    return PublishedTask(
        hub_id="cais/mmlu",
        config="all",
        train_split="",  # the 285 questions of "dev" are examples for few-shot prompts
        test_split="test",
        columns=("question", "subject", "choices", "answer"),
        read=_read_mmlu,
        subjects=subjects,
    )


def _arc(config: str) -> PublishedTask:
    return PublishedTask(
        hub_id="allenai/ai2_arc",
        config=config,
        train_split="train",
        test_split="test",
        columns=("id", "question", "choices", "answerKey"),
        read=_read_labelled,
    )


PUBLISHED: Mapping[str, PublishedTask] = {
    "commonsense_qa": PublishedTask(
        hub_id="tau/commonsense_qa",
        config="default",
        train_split="train",
        test_split="validation",  # the answers of "test" were never published
        columns=("id", "question", "choices", "answerKey"),
        read=_read_labelled,
    ),
    "mmlu": _mmlu(),
    "mmlu_stem": _mmlu(mmlu.STEM),
    "mmlu_social_sciences": _mmlu(mmlu.SOCIAL_SCIENCES),
    "mmlu_humanities": _mmlu(mmlu.HUMANITIES),
    "mmlu_other": _mmlu(mmlu.OTHER),
    "arc_challenge": _arc("ARC-Challenge"),
    "arc_easy": _arc("ARC-Easy"),
    "openbookqa": PublishedTask(
        hub_id="allenai/openbookqa",
        config="main",
        train_split="train",
        test_split="test",
        columns=("id", "question_stem", "choices", "answerKey"),
        read=_read_labelled,
    ),
}


def load_published(name: str, data_root: Path | None, *, skip_bad_rows: bool) -> Task:
    """A task of `PUBLISHED`, from the mirror in `data_root`, or from the hub where that is None."""
    task = PUBLISHED[name]
    skipped: list[str] = []
    splits: dict[str, tuple[Question, ...]] = {"": ()}
    for split in filter(None, (task.train_split, task.test_split)):
        if data_root is None:
            where, (columns, rows) = f"{task.hub_id}, split '{split}'", _hub_rows(name, task, split)
        else:
            path = data_root / task.hub_id / task.config / f"{split}.parquet"
            where, (columns, rows) = str(path), _mirror_rows(name, path, data_root)
        for column in task.columns:
            if column not in columns:
                raise KvorumError(f"{where}: there is no column '{column}'{nearest(column, columns)}")
        splits[split] = _questions(task, rows, where, skipped, skip_bad_rows=skip_bad_rows)
    return Task(
        name=name,
        train=splits[task.train_split],
        test=splits[task.test_split],
        train_split=task.train_split,
        test_split=task.test_split,
        source=f"{task.hub_id} ({'hub' if data_root is None else 'mirror'})",
        skipped=tuple(skipped),
    )


def _questions(
    task: PublishedTask, rows: Sequence[Row], where: str, skipped: list[str], *, skip_bad_rows: bool
) -> tuple[Question, ...]:
    questions: list[Question] = []
    counts: Counter[str] = Counter()
    equal_choices = 0
    for number, row in enumerate(rows, start=1):
        subject = str(row.get("subject") or task.config)
        counts[subject] += 1
        if task.subjects and subject not in task.subjects:
            continue
        try:
            question = task.read(row, f"{subject}/{counts[subject]}")
        except KvorumError as error:
            message = f"{where}, row {number}: {error}"
            if not skip_bad_rows:
                raise KvorumError(f"{message}; --skip-bad-rows leaves such rows out") from error
            skipped.append(message)
            continue
        equal_choices += len(set(question.choices)) < len(question.choices)
        questions.append(question)
    if equal_choices:
        # Published counts must hold, so these stay.
        logger.info("%s: %d questions have two equal choices, as published; they are kept", where, equal_choices)
    return tuple(questions)


def _mirror_rows(name: str, path: Path, data_root: Path) -> tuple[list[str], list[dict[str, Any]]]:
    if not path.is_file():
        raise KvorumError(
            f"task '{name}' is not in the data root {data_root}: there is no file {path}. A data root holds "
            "<hub id>/<config>/<split>.parquet; without --data-root and KVORUM_DATA the task comes from the hub"
        )
    return read_parquet(path, lambda _: True)


def _hub_rows(name: str, task: PublishedTask, split: str) -> tuple[list[str], list[dict[str, Any]]]:
    import datasets
    from datasets.exceptions import DatasetsError

    try:
        dataset = datasets.load_dataset(task.hub_id, task.config, split=split)
    except (OSError, RuntimeError, ValueError, DatasetsError) as error:
        raise KvorumError(
            f"task '{name}': cannot get {task.hub_id} ({task.config}, {split}) from the Hugging Face hub: {error}. "
            "Where there is no network, --data-root (or KVORUM_DATA) names a folder with a copy, "
            f"laid out as {task.hub_id}/{task.config}/{split}.parquet"
        ) from error
    return dataset.column_names, dataset.to_list()
