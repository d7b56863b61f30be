"""A Parquet file as rows."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from kvorum.errors import KvorumError
from kvorum.parquet import read_batches


def read_parquet(path: Path, wanted: Callable[[str], bool]) -> tuple[list[str], list[dict[str, Any]]]:
    """The names of all columns of a file, and its rows with the wanted ones.

    Raises KvorumError for a file that is damaged, or too large to be read.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            columns = list(file.schema_arrow.names)
            rows: list[dict[str, Any]] = []
            for batch in read_batches(file, [column for column in columns if wanted(column)]):
                batch.validate(full=True)
                rows += batch.to_pylist()
        return columns, rows
    except KvorumError as error:
        raise KvorumError(f"{path}: {error}") from None
    except (OSError, ValueError, LookupError, TypeError, OverflowError, pyarrow.ArrowException) as error:
        raise KvorumError(f"{path}: not a readable Parquet file: {error}") from error
