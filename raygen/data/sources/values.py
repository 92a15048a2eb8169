"""Values: which rows of Arrow columns cannot become Python values? Files do not always keep their schema."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc

from raygen.data.sources.lines import Fault

_ORDERED = (pa.types.is_timestamp, pa.types.is_date, pa.types.is_time)


def unreadable_rows(columns: Mapping[str, pa.Array]) -> dict[int, Fault]:
    """Return the rows with a value that cannot be read, each with its first fault. Fast where there is none.

    Codes: `wrong_encoding` (text that is not UTF-8), `unreadable_value` (such as a date after the year 9999).
    """
    faults: dict[int, Fault] = {}
    for name, column in columns.items():
        if not _all_readable(column):
            for row, value in enumerate(column):
                try:
                    value.as_py()
                except UnicodeDecodeError as error:
                    faults.setdefault(
                        row, Fault("wrong_encoding", f"column {name!r} is not UTF-8: {error.reason}")
                    )
                except (ValueError, OverflowError) as error:
                    faults.setdefault(row, Fault("unreadable_value", f"column {name!r}: {error}"))
    return faults


def _all_readable(column: pa.Array) -> bool:
    try:
        column.validate(full=True)
        if any(is_ordered(column.type) for is_ordered in _ORDERED):
            pc.min_max(column).as_py()  # where the first and the last fit into Python's types, the others do
        elif _holds_time(column.type):
            column.to_pylist()
    except (ValueError, OverflowError):
        return False
    return True


def _holds_time(kind: pa.DataType) -> bool:
    if pa.types.is_temporal(kind):
        return True
    if pa.types.is_dictionary(kind):
        return _holds_time(kind.value_type)
    return any(_holds_time(kind.field(i).type) for i in range(kind.num_fields))
