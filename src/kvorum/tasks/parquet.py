"""A Parquet file as rows."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from kvorum.errors import KvorumError


def read_parquet(path: Path, wanted: Callable[[str], bool]) -> tuple[list[str], list[dict[str, Any]]]:
    """The names of all columns of a file, and its rows with the wanted ones; raises KvorumError for a damaged file."""
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            columns = list(file.schema_arrow.names)
            rows = file.read(columns=[column for column in columns if wanted(column)]).to_pylist()
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise KvorumError(f"{path}: not a readable Parquet file: {error}") from error
    return columns, rows
