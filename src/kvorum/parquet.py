"""Reading a Parquet file that somebody else may have written: no more of it than there is memory for.

A few kilobytes of Parquet can spell out billions of values, or a long text a million times, and a footer may lie.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from kvorum.errors import KvorumError

if TYPE_CHECKING:
    import pyarrow.parquet

LARGEST = 2**28
"""Bytes of the columns that are read, decoded."""
MOST_ROWS = 1_000_000
MOST_VALUES = 10_000_000
"""Values in the columns; predictions of 20 members on 15,000 questions with 5 choices have 1.5 million."""
ROWS_AT_ONCE = 64
"""Rows that are decoded before what they have become is looked at."""


def read_batches(file: "pyarrow.parquet.ParquetFile", columns: Sequence[str]) -> Iterator["pyarrow.RecordBatch"]:
    """Some columns of an open Parquet file, a few rows at a time.

    Raises KvorumError for a file that would not fit in memory, and what pyarrow raises for one that is damaged.
    """
    rows = size = values = 0
    # Of the footer this alone is asked for: what it says of columns may be damaged, and pyarrow then aborts.
    if file.metadata.num_rows <= MOST_ROWS:
        for encoded in file.iter_batches(batch_size=ROWS_AT_ONCE, columns=list(columns)):
            batch = _decoded(encoded)
            rows, size = rows + batch.num_rows, size + batch.nbytes
            values += sum(_leaves(column) for column in batch.columns)
            if rows > MOST_ROWS or size > LARGEST or values > MOST_VALUES:
                break
            yield batch
        else:
            return
    raise KvorumError(
        f"it holds more than {MOST_ROWS:,} rows, {MOST_VALUES:,} values or {LARGEST:,} bytes; no more are read"
    )


def _decoded(batch: "pyarrow.RecordBatch") -> "pyarrow.RecordBatch":
    """A batch in which each value stands for itself: one that is repeated by reference would seem small."""
    import pyarrow as pa

    plain = [_plain(field.type) for field in batch.schema]
    columns = [
        column if column.type == kind else column.cast(kind) for column, kind in zip(batch.columns, plain, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _plain(kind: Any) -> Any:
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        return _plain(kind.value_type)
    if pa.types.is_list(kind):
        return pa.list_(_plain(kind.value_type))
    if pa.types.is_large_list(kind):
        return pa.large_list(_plain(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_plain(field.type)) for field in kind])
    return kind


def _leaves(column: Any) -> int:
    import pyarrow as pa

    while pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        column = column.flatten()
    return len(column)
