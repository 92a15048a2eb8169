"""Exact types: every value comes back as it came in, whatever the rows before it were."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raygen.data.sources.exact import BATCH_ROWS, JSON_TEXT, ExactTypes, exact_array
from raygen.json_text import read_json
from tests.data.reading import PROPERTY
from tests.test_json_text import JSON_VALUES


def type_of(values: list[Any]) -> pa.DataType:
    found = ExactTypes(["x"])
    for value in values:
        found.add({"x": value}, 10)
    return found.types()["x"]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, None, 2], pa.int64()),
        (["a", None], pa.string()),
        ([True, False], pa.bool_()),
        ([1.0, 0.5], pa.float64()),
        ([None, None], pa.string()),
        ([["a"], [], None], pa.list_(pa.string())),
        ([{"a": 1, "b": None}, {"b": None, "a": 2}], pa.struct([("a", pa.int64()), ("b", pa.string())])),
        ([{"a": [{"b": 1}]}, {"a": []}], pa.struct([("a", pa.list_(pa.struct([("b", pa.int64())])))])),
    ],
)
def test_one_type_that_holds_all_is_taken(values: list[Any], kind: pa.DataType) -> None:
    assert type_of(values) == kind
    assert type_of([*values, *[None] * BATCH_ROWS, *values]) == kind


@pytest.mark.parametrize(
    ("first", "later"),
    [
        (1, "a"),
        (1, True),
        (True, 1),
        (1, 1.0),
        (1.5, 1),
        (1.5, 2**53 + 1),
        (1, 2**63),
        ("a", {"a": 1}),
        ({"a": 1}, {"a": 1, "b": 2}),
        ({"a": 1}, {"b": 1}),
        ({"a": 1, "b": 1}, {"a": 1}),  # a key that is missing is not null
        ({"a": {"b": 1}}, {"a": {"b": 1, "c": 1}}),
        ({"a": [{"b": 1}]}, {"a": [{"c": 1}]}),
        ([1], [1, "a"]),
        ([1], [[1]]),
        ({"a": 1}, {}),
        ({"a": True}, {"a": 1}),
    ],
)
@pytest.mark.parametrize("between", [0, BATCH_ROWS])
def test_values_without_a_type_in_common_become_json(first: Any, later: Any, between: int) -> None:
    """Also those that come long after the rows that were looked at first."""
    assert type_of([first, *[first] * between, later]) == JSON_TEXT


@pytest.mark.parametrize("value", [{}, [{}], 2**70, [2**70]])
def test_what_no_column_holds_becomes_json(value: Any) -> None:
    assert type_of([value]) == JSON_TEXT


def test_a_column_that_no_row_has_is_not_there() -> None:
    found = ExactTypes(["x", "y"])
    found.add({"y": None, "z": 1}, 10)
    assert found.types() == {"y": pa.string()}


@PROPERTY
@given(st.lists(JSON_VALUES, max_size=4))
def test_any_values_come_back(values: list[Any]) -> None:
    kind = type_of([None, *values])
    array = exact_array(values, kind, strictly=True)
    assert array is not None
    back = array.to_pylist()
    if kind == JSON_TEXT:
        back = [None if text is None else read_json(text) for text in back]
    # A struct has one order of its fields; JSON's objects have none.
    assert [_sorted(value) for value in back] == [_sorted(value) for value in values]


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(each) for each in value] if isinstance(value, list) else (type(value), repr(value))


@pytest.mark.parametrize(
    ("value", "kind", "fits"),
    [
        (1, pa.float64(), True),
        (2**53 + 1, pa.float64(), False),
        (True, pa.float64(), False),
        ({"a": 1}, pa.struct([("a", pa.int64()), ("b", pa.string())]), True),
        ({"a": 1, "c": None}, pa.struct([("a", pa.int64()), ("b", pa.string())]), False),
        ([{"a": 1}, {"a": 1, "c": 1}], pa.list_(pa.struct([("a", pa.int64())])), False),
        ([1], pa.list_(pa.float64()), True),
    ],
)
def test_types_of_older_plans_take_what_they_hold_without_loss(
    value: Any, kind: pa.DataType, fits: bool
) -> None:
    assert (exact_array([value], kind, strictly=False) is not None) == fits
