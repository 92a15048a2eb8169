"""Pictures: encoded images as columns hold them: bytes, Hugging Face's `{bytes, path}`, or a list of either."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from raygen.errors import RowError


def holds_pictures(kind: pa.DataType) -> bool:
    """Whether a column may hold pictures: one that was null in the rows that were looked at may, too."""
    is_of = pa.types
    if is_of.is_list(kind) or is_of.is_large_list(kind) or is_of.is_fixed_size_list(kind):
        return holds_pictures(kind.value_type)
    if is_of.is_struct(kind):
        held = {field.name: field.type for field in kind.fields}
        return "bytes" in held and holds_pictures(held["bytes"])
    return bool(
        is_of.is_binary(kind)
        or is_of.is_large_binary(kind)
        or is_of.is_fixed_size_binary(kind)
        or is_of.is_binary_view(kind)
        or is_of.is_null(kind)
    )


def pictures_in(value: Any, column: str) -> list[bytes]:
    """Return the encoded images of a row, in order; none of an empty list.

    Raises:
        RowError: `missing_value`: there are no bytes. A path beside them is never followed: what data says is not read
            from this machine's disk or the network.
    """
    if isinstance(value, list):
        return [data for each in value for data in pictures_in(each, column)]
    if isinstance(value, Mapping):
        data, path = value.get("bytes"), value.get("path")
        if data is None and path is not None:
            raise RowError(
                "missing_value",
                f"column {column!r} holds no bytes in this row, only the path {path!r}, which is not read: "
                "store the pictures themselves in the column",
            )
        value = data
    if not isinstance(value, bytes):
        raise RowError("missing_value", f"column {column!r} holds no image bytes in this row")
    return [value]
