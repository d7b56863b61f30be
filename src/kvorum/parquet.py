"""Reading a Parquet file that somebody else may have written: no more of it than there is memory for.

A few kilobytes of Parquet can spell out billions of values, or a long text a million times.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kvorum.errors import KvorumError

if TYPE_CHECKING:
    import pyarrow.parquet

LARGEST = 2**30
"""Bytes of the columns that are read, decoded."""
MOST_VALUES = 50_000_000
"""Values in them; predictions of 20 members on 15,000 questions with 5 choices have 1.5 million."""
AT_ONCE = 2**26
"""Bytes that a batch may become before it is looked at, as near as the file's own numbers tell."""


def read_table(file: "pyarrow.parquet.ParquetFile", columns: Sequence[str]) -> "pyarrow.Table":
    """Some columns of an open Parquet file.

    Raises KvorumError for a file that would not fit in memory, and what pyarrow raises for one that is damaged.
    """
    import pyarrow as pa

    metadata = file.metadata
    values = largest = stored = 0
    for group in range(metadata.num_row_groups):
        for place in range(metadata.num_columns):
            chunk = metadata.row_group(group).column(place)
            if chunk.path_in_schema.partition(".")[0] in columns:
                values += max(0, chunk.num_values)
                stored += max(0, chunk.total_uncompressed_size)
                largest = max(largest, chunk.total_uncompressed_size)
    if max(values, metadata.num_rows) > MOST_VALUES or stored > LARGEST:
        raise KvorumError(
            f"it holds {max(values, metadata.num_rows):,} values in {stored:,} bytes; at most {MOST_VALUES:,} in "
            f"{LARGEST:,} are read"
        )
    # No value is longer than its column's data, so that so many rows are no more than AT_ONCE, if they do not lie.
    a_row = max(1, largest) * -(-max(values, 1) // max(metadata.num_rows, 1))
    batches, size = [], 0
    for batch in file.iter_batches(batch_size=min(8192, max(1, AT_ONCE // a_row)), columns=list(columns)):
        size += batch.nbytes
        if size > LARGEST:
            raise KvorumError(f"its values are more than {LARGEST:,} bytes; no more are read")
        batches.append(batch)
    schema = file.schema_arrow
    return pa.Table.from_batches(
        batches, schema=batches[0].schema if batches else pa.schema(map(schema.field, columns))
    )
