"""A Parquet file as rows."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from kvorum.errors import KvorumError
from kvorum.parquet import read_table


def read_parquet(path: Path, wanted: Callable[[str], bool]) -> tuple[list[str], list[dict[str, Any]]]:
    """The names of all columns of a file, and its rows with the wanted ones.

    Raises KvorumError for a file that is damaged, or too large to be read.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            columns = list(file.schema_arrow.names)
            table = read_table(file, [column for column in columns if wanted(column)])
        table.validate(full=True)
        return columns, table.to_pylist()
    except (OSError, ValueError, LookupError, TypeError, OverflowError, pyarrow.ArrowException) as error:
        raise KvorumError(f"{path}: not a readable Parquet file: {error}") from error
