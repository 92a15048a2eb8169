"""The outcome schema: fixed columns, and never one of null type."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raygen.data.sources.exact import JSON_TEXT
from raygen.runs.commit import encode_data
from raygen.runs.outcome import (
    FIELDS,
    OWN_COLUMNS,
    Outcome,
    lifted,
    outcome_rows,
    outcome_schema,
    outcome_table,
)
from tests.runs.made import LINEAGE, outcomes

EARLIER = pa.list_(pa.struct([("index", pa.int32()), ("text", pa.string())]))


def types_in(kind: pa.DataType) -> list[pa.DataType]:
    """A type with all the types in it."""
    return [kind, *(each for n in range(kind.num_fields) for each in types_in(kind.field(n).type))]


def test_no_column_is_ever_of_null_type() -> None:
    schema = outcome_schema({"empty": pa.null(), "n": pa.int32()})
    assert schema.field("empty").type == pa.string()
    assert not [f.name for f in schema for kind in types_in(f.type) if pa.types.is_null(kind)]


@pytest.mark.parametrize(
    "rows", [[], [Outcome("a", "failed", "why")], [Outcome("a", "accepted", samples=[{}])]]
)
def test_the_schema_is_the_same_whatever_the_rows(rows: list[Outcome]) -> None:
    kept = {"topic": pa.string(), "when": pa.timestamp("us")}
    table = outcome_table(rows, LINEAGE, {name: pa.nulls(len(rows), kind) for name, kind in kept.items()})
    assert table.schema.equals(outcome_schema(kept), check_metadata=True)
    read = pq.read_table(io.BytesIO(encode_data(table)))
    assert read.schema.equals(outcome_schema(kept))
    assert read.num_rows == len(rows)


def test_chunks_with_and_without_failures_make_one_table() -> None:
    read = [
        pq.read_table(io.BytesIO(encode_data(outcomes(n, statuses))))
        for n, statuses in enumerate(["aaa", "fff"])
    ]
    assert pa.concat_tables(read).num_rows == 6


def test_kept_columns_follow_with_their_own_types() -> None:
    rows = [Outcome("a", "accepted"), Outcome("b", "failed")]
    table = outcome_table(rows, LINEAGE, {"n": pa.array([3, None], pa.int16())})
    assert table.column_names == [*OWN_COLUMNS, "n"]
    assert table.column("n").to_pylist() == [3, None]
    assert table.schema.field("n").type == pa.int16()


def test_a_column_of_json_is_one_of_strings_that_says_so_and_is_read_as_its_values() -> None:
    texts = pa.array(['{"a":[1,12345678901234567890123,null]}', None, '"1"'], pa.string())
    rows = [Outcome(name, "failed") for name in "abc"]
    table = outcome_table(rows, LINEAGE, {"meta": pa.ExtensionArray.from_storage(JSON_TEXT, texts)})
    assert table.schema.equals(outcome_schema({"meta": JSON_TEXT}), check_metadata=True)
    read = pq.read_table(io.BytesIO(encode_data(table)))
    assert read.schema.field("meta").type == pa.string()
    assert read.column("meta").to_pylist() == texts.to_pylist()
    assert [row["meta"] for row in outcome_rows(read)] == [
        {"a": [1, 12345678901234567890123, None]},
        None,
        "1",
    ]


def test_every_row_has_its_lineage() -> None:
    table = outcomes(0)
    assert [each["ai_generated"] for each in table.column("lineage").to_pylist()] == [True] * 3
    assert [field.name for field in FIELDS if not field.nullable] == [
        "row_id",
        "status",
        "samples",
        "variables",
        "discarded",
        "attempts",
        "calls",
        "lineage",
    ]


def test_outcomes_of_an_earlier_version_are_lifted_and_what_they_lack_is_null() -> None:
    new = outcomes(0)
    assert lifted(new) is new
    place = new.schema.get_field_index("samples")
    old = pa.array([[{"index": 0, "text": "a"}], [], [{"index": 1, "text": "b"}]], EARLIER)
    table = lifted(new.set_column(place, pa.field("samples", EARLIER, nullable=False), old))
    assert table.schema.equals(new.schema, check_metadata=True)
    samples = [sample for row in table.column("samples").to_pylist() for sample in row]
    assert [(each["index"], each["text"], each["digest"]) for each in samples] == [
        (0, "a", None),
        (1, "b", None),
    ]
    assert table.drop_columns("samples").equals(new.drop_columns("samples"))
