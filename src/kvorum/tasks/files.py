"""A user's own file of questions."""

from pathlib import Path

from kvorum.errors import KvorumError
from kvorum.tasks.question import Task

SUFFIXES = (".jsonl", ".csv", ".parquet")


def load_file(path: Path, *, skip_bad_rows: bool) -> Task:
    """Not yet."""
    raise KvorumError(f"{path}: files are coming")
