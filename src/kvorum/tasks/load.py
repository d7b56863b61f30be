"""One door to every task: by name, or by the path of a file."""

import logging
import os
from pathlib import Path

from kvorum.errors import KvorumError, nearest
from kvorum.tasks.facts import FACTS, load_facts
from kvorum.tasks.files import SUFFIXES, load_file
from kvorum.tasks.published import PUBLISHED, load_published
from kvorum.tasks.question import Task

logger = logging.getLogger(__name__)


def task_names() -> tuple[str, ...]:
    """Every task that has a name: the built-in ones, then the published ones."""
    return (*FACTS, *PUBLISHED)


def load_task(name: str | Path, *, data_root: str | Path | None = None, skip_bad_rows: bool = False) -> Task:
    """A task by its name, or from a file (.jsonl, .csv, .parquet).

    Published sets come from the Hugging Face hub, or from the folder `data_root` (else the environment's KVORUM_DATA)
    if there is one, laid out as `<hub id>/<config>/<split>.parquet`. A file is used whole, for fitting and evaluation.
    A bad row is an error, or is left out and told of in `Task.skipped`.

    Raises KvorumError for an unknown name, what cannot be read, bad rows, and a task without questions.
    """
    task = _load(name, data_root or os.environ.get("KVORUM_DATA"), skip_bad_rows=skip_bad_rows)
    if task.skipped:
        logger.warning("task '%s': bad rows left out: %d, the first: %s", name, len(task.skipped), task.skipped[0])
    return task


def _load(name: str | Path, data_root: str | Path | None, *, skip_bad_rows: bool) -> Task:
    if str(name) in FACTS:
        return load_facts(str(name))
    if str(name) in PUBLISHED:
        return load_published(str(name), Path(data_root) if data_root else None, skip_bad_rows=skip_bad_rows)
    path = Path(name)
    if path.suffix.lower() in SUFFIXES:
        return load_file(path, skip_bad_rows=skip_bad_rows)
    if str(name) and (path.exists() or len(path.parts) > 1):
        what = "a folder" if path.is_dir() else f"'{path.name}'"
        raise KvorumError(f"task '{name}': a task's file ends in {', '.join(SUFFIXES)}, but this is {what}")
    suggestion = nearest(str(name).lower().replace("-", "_"), task_names())
    raise KvorumError(f"there is no task '{name}', nor is it a file ({', '.join(SUFFIXES)}){suggestion}")
