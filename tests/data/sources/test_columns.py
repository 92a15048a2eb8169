from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from raygen.data.sources.columns import infer_columns, storable
from raygen.json_text import depth


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, None, 2], pa.int64()),
        ([1, 2.5], pa.float64()),
        ([None, None], pa.string()),
        ([1, "a"], pa.string()),
        ([True, 1], pa.string()),
        ([2**70], pa.string()),
        ([{"a": 1}, {"a": "x"}], pa.string()),
        ([{"a": 1}, {"b": "x"}], pa.struct([("a", pa.int64()), ("b", pa.string())])),
        ([{}], pa.string()),
        ([[], []], pa.list_(pa.string())),
        ([{"a": [{}]}], pa.struct([("a", pa.list_(pa.string()))])),
        ([[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]], pa.string()),
    ],
)
def test_types_of_samples(values: list[Any], kind: pa.DataType) -> None:
    assert infer_columns([{"x": value} for value in values]) == {"x": kind}


def test_columns_are_a_union_in_order() -> None:
    rows = [{"a": 1}, {"b": "x", "a": 2}, {"c": None}]
    assert list(infer_columns(rows).items()) == [("a", pa.int64()), ("b", pa.string()), ("c", pa.string())]
    assert infer_columns([]) == {}


@pytest.mark.parametrize(
    ("kind", "stored"),
    [
        (pa.dictionary(pa.int8(), pa.string()), pa.string()),
        (pa.large_list(pa.null()), pa.large_list(pa.string())),
        (pa.list_(pa.null(), 3), pa.list_(pa.string(), 3)),
        (pa.map_(pa.string(), pa.null()), pa.map_(pa.string(), pa.string())),
        (pa.struct([("a", pa.struct([]))]), pa.struct([("a", pa.string())])),
        (pa.timestamp("us", "UTC"), pa.timestamp("us", "UTC")),
    ],
)
def test_storable(kind: pa.DataType, stored: pa.DataType) -> None:
    assert storable(kind) == stored


def test_depth() -> None:
    assert [depth(value) for value in (1, "[", [], {"a": 1}, {"a": [1, {"b": []}]})] == [0, 0, 1, 1, 4]
