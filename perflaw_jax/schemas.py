"""The columns of the Parquet files: their types, how they are encoded, and arrays made into them without changing a value.

Top and frontier hold a few thousand rows in float64. Rows hold every feasible candidate, so their computed columns are
float32: 4 bytes a row each before compression, and as exact as the sweep that found them. In rows, budget_used is a multiple
of 2^-17, which saves most of a byte per row: it repeats training_flops, which stays whole beside it, and rounding to nearest
moves no value across 1. extrapolation is a multiple of 2^-10, finer than anybody needs it, and extrapolated is not rounded.

Row groups are one page of 2^18 rows per column: zstd then sees whole tiles of the grid and a row takes a third fewer bytes than
with the default pages of 20,000 rows; a page index would add nothing to the statistics of such groups.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from perflaw_jax.design import FIELDS, FLAGS

ROW_GROUP = 2**18
STEPS = {"budget_used": 2.0**-17, "extrapolation": 2.0**-10}  # in rows

Column = np.ndarray | tuple[np.ndarray, np.ndarray] | float | None
"""One value per row, (index per row, values), one value for all rows, or None for a column of nulls."""


def candidate_schema(real: pa.DataType, columns: Iterable[str] = ()) -> pa.Schema:
    """The columns of top, frontier and rows; ``real`` is the type of the computed ones.

    Those of ``columns`` that are not usual come last, as float64: shares of data domains, costs, what is known of the error.
    The distance to the law's data is a computed one.
    """
    types = {"training_tokens": pa.float64()} | dict.fromkeys(FLAGS, pa.bool_())
    fields = [pa.field("candidate_id", pa.int64(), nullable=False)]
    # Heads are null where hidden_size / head_dim is not whole. The other fields are required: that spares the null bitmaps.
    fields += [pa.field(name, types.get(name, pa.int32()), name == "num_attention_heads") for name in FIELDS]
    fields += [pa.field(name, pa.int64(), nullable=False) for name in ("total_params", "active_params")]
    fields += [pa.field(name, real, nullable=False) for name in ("training_flops", "score")]
    fields += [pa.field("budget_used", real)]  # null where the spec has no budget of training FLOPs
    usual = {field.name for field in fields}
    others = {"extrapolation": real, "extrapolated": pa.bool_()}
    extra = [pa.field(name, others.get(name, pa.float64()), nullable=False) for name in columns if name not in usual]
    return pa.schema(fields + extra)


def trials_schema(columns: Iterable[str] = ()) -> pa.Schema:
    """The columns of a search's trials: their number, whether the candidate is feasible, and its usual columns.

    What a limit was broken by may be no number: every column but the first three may be null.
    """
    own = [pa.field("trial", pa.int64(), False), pa.field("feasible", pa.bool_(), False)]
    usual = candidate_schema(pa.float64(), [name for name in columns if name not in ("trial", "feasible")])
    return pa.schema([*own, *(field.with_nullable(True) if field.name != "candidate_id" else field for field in usual)])


def curve_schema(columns: Iterable[str] = ()) -> pa.Schema:
    """The columns of a curve: the budget, the best candidate under it, and what binds there, as text."""
    usual = candidate_schema(pa.float64(), [name for name in columns if name not in ("budget", "binds")])
    return pa.schema([pa.field("budget", pa.float64(), False), *usual, pa.field("binds", pa.string(), False)])


def compact_schema() -> pa.Schema:
    """The columns of rows when only ids and scores are kept: the design follows from the id and the spec."""
    return pa.schema([pa.field("candidate_id", pa.int64(), False), pa.field("score", pa.float32(), False)])


def marginals_schema() -> pa.Schema:
    """Best score per axis value; score and candidate_id are null where no candidate with that value is feasible."""
    fields = [pa.field("axis", pa.string(), False), pa.field("value", pa.float64(), False)]
    return pa.schema([*fields, pa.field("score", pa.float64()), pa.field("candidate_id", pa.int64())])


def count_rows(columns: Mapping[str, Column], schema: pa.Schema) -> int:
    """Number of rows; a ``ValueError`` where columns are missing, unknown or of different lengths."""
    if wrong := sorted({*columns} ^ {*schema.names}):
        raise ValueError(f"columns missing or unknown: {', '.join(wrong)}")
    per_row = {name: column[0] if isinstance(column, tuple) else column for name, column in columns.items()}
    lengths = {name: len(column) for name, column in per_row.items() if isinstance(column, np.ndarray)}
    if len({*lengths.values()}) != 1:
        raise ValueError(f"columns need one length, got {lengths}")
    return lengths.popitem()[1]


def to_table(columns: Mapping[str, Column], schema: pa.Schema, start: int, end: int) -> pa.Table:
    """Rows [start, end) of columns as a table."""
    return pa.Table.from_arrays([_array(field, columns[field.name], start, end) for field in schema], schema=schema)


def _array(field: pa.Field, column: Column, start: int, end: int) -> pa.Array:
    """Rows [start, end) of a column."""
    if isinstance(column, tuple):
        indices, values = column
        return _exact(field, np.asarray(values)).take(pa.array(indices[start:end]))
    if isinstance(column, np.ndarray):
        part = column[start:end]
        if field.name in STEPS and field.type == pa.float32():
            part = np.rint(part / STEPS[field.name]) * STEPS[field.name]
        return _exact(field, part)
    value = None if column is None else _exact(field, np.asarray([column]))[0].as_py()
    if value is None:
        return pa.nulls(end - start, field.type)
    return pa.array(np.full(end - start, value, field.type.to_pandas_dtype()))  # pa.repeat of a number is ten times slower


def _exact(field: pa.Field, values: np.ndarray) -> pa.Array:
    """To the type of the field without changing a value; what a nullable field cannot hold (NaN, half a head) is null."""
    missing = None
    if field.nullable and values.dtype.kind == "f":
        missing = values != np.floor(values) if pa.types.is_integer(field.type) else np.isnan(values)
    return pa.array(values, mask=missing).cast(field.type)


def encodings(schema: pa.Schema, columns: Mapping[str, Column]) -> dict[str, Any]:
    """Options of ``pq.write_table``: dictionaries for axes, split bytes for computed numbers, deltas for ids.

    What is one number in all rows stays plain, as flags and computed counts do: zstd takes it to nothing, and it is written
    twice as fast as a dictionary.
    """
    computed = [field.name for field in schema if pa.types.is_floating(field.type)]
    if "training_tokens" in computed and not isinstance(columns["training_tokens"], np.ndarray):
        computed.remove("training_tokens")  # an axis or a constant; computed per row where the budget buys the tokens
    axes = [name for name in schema.names if isinstance(columns.get(name), tuple) and name not in FLAGS]
    split = [name for name in computed if name not in axes]  # shares of data domains are floats and axes
    encodings = {"candidate_id": "DELTA_BINARY_PACKED"} | dict.fromkeys(split, "BYTE_STREAM_SPLIT")
    return {
        "compression": "zstd",
        "compression_level": 1,
        "use_dictionary": axes,
        "column_encoding": encodings,
        "max_rows_per_page": ROW_GROUP,
        "data_page_size": 8 * ROW_GROUP + 1,
        "write_page_checksum": True,
        "store_schema": False,  # it would hold the header a second time
    }
