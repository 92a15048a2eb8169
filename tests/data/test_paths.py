"""Paths: where `a.b` leads among columns and in rows; a column of that very name wins."""

from __future__ import annotations

import pyarrow as pa
import pytest

from raygen.data.paths import ANY, carriers, names_in, spread, type_at, value_at

COLUMNS = {
    "id": pa.int64(),
    "body": pa.struct([("model", pa.string()), ("deep", pa.struct([("x.y", pa.bool_())]))]),
    "text": pa.string(),
    "a.b": pa.float64(),
    "a": pa.struct([("b", pa.string()), ("c", pa.string())]),
}


def test_integers_of_any_size_stay_whole_in_text() -> None:
    assert value_at({"text": '{"a": [12345678901234567890123]}'}, "text.a") == [12345678901234567890123]


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("id", pa.int64()),
        ("body.model", pa.string()),
        ("body.deep.x.y", pa.bool_()),
        ("a.b", pa.float64()),  # the column, not the field
        ("a.c", pa.string()),
        ("text.anything", ANY),
        ("body.model.inner", ANY),
        ("body.missing", None),
        ("id.x", None),
        ("nothing", None),
        ("body.", None),
        (".body", None),
    ],
)
def test_types_stand_at_paths(path: str, kind: pa.DataType | None) -> None:
    assert type_at(COLUMNS, path) == kind


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("a.b", 1),
        ("a.c", 2),
        ("text.k", [3]),
        ("text.k.x", None),
        ("plain.k", None),
        ("null.k", None),
        ("deep.x.y", True),
    ],
)
def test_values_stand_at_paths(path: str, value: object) -> None:
    row = {"a.b": 1, "a": {"b": "no", "c": 2}, "text": '{"k": [3]}', "plain": "{", "null": None}
    assert value_at({**row, "deep": {"x.y": True}}, path) == value


def test_a_row_gets_what_stands_at_its_paths_beside_its_columns() -> None:
    row = {"a": {"b": 1}, "c.d": 2}
    assert spread(row, ["a.b", "a.x", "c.d"]) == {**row, "a.b": 1, "a.x": None}
    assert spread(row, ["c.d"]) is row


def test_carriers_are_the_columns_that_paths_lead_into() -> None:
    assert carriers(["a.x", "a.y", "b.c", "d.e"], ["a", "b", "b.c"]) == ["a", "b.c", "d.e"]


def test_fields_have_paths_too() -> None:
    assert list(names_in({"a": COLUMNS["a"], "id": pa.int64()})) == ["a", "a.b", "a.c", "id"]
