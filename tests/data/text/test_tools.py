"""Tools: every way in which data sets write them becomes the one that models are told."""

from __future__ import annotations

from typing import Any

import orjson
import pyarrow as pa
import pytest

from raygen.data.text.tools import checked_tools, unread_tools
from raygen.errors import RowError

INNER: dict[str, Any] = {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {}}}
WHOLE = {"type": "function", "function": INNER}


@pytest.mark.parametrize(
    "value",
    [
        [WHOLE],
        [INNER],
        [{"function": INNER}],
        [{"type": "function", **INNER}],
        [orjson.dumps(WHOLE).decode()],
        orjson.dumps([INNER]).decode(),
        [{**INNER, "parameters": orjson.dumps(INNER["parameters"]).decode()}],
    ],
)
def test_every_form_becomes_the_whole_one(value: Any) -> None:
    assert checked_tools(value, "tools") == [WHOLE]


@pytest.mark.parametrize("value", [None, [], "", " ", "[]"])
def test_a_row_may_have_none(value: Any) -> None:
    assert checked_tools(value, "tools") is None


def test_what_parquet_fills_in_is_taken_out_again_and_a_default_of_null_stays() -> None:
    one = {"type": "object", "properties": {"a": {"type": "string"}}}
    other = {"type": "object", "properties": {"b": {"type": "number", "minimum": 0}}, "required": ["b"]}
    tools = [{"name": "f", "parameters": one}, {"name": "g", "parameters": other}]
    found = checked_tools(pa.array([tools]).to_pylist()[0], "tools", padded=True)
    assert found == [{"type": "function", "function": tool} for tool in tools]
    optional = [{"name": "f", "parameters": {"type": "object", "properties": {"a": {"default": None}}}}]
    assert checked_tools(optional, "tools") == [{"type": "function", "function": optional[0]}]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("no json", "text that is no JSON list of tools"),
        ({"name": "f"}, "no list of tools"),
        ([3], "tool 0 is no object"),
        ([INNER, {"description": "x"}], "tool 1 has no name"),
        ([{"type": "function", "function": "f"}], "tool 0 has no name"),
        ([{"name": "f", "parameters": ["a"]}], r"tool 0 \(f\) has parameters that are no object"),
        ([{"name": "f", "parameters": "{"}], r"tool 0 \(f\) has parameters that are no JSON"),
    ],
)
def test_a_fault_names_the_tool(value: Any, words: str) -> None:
    with pytest.raises(RowError, match=f"column 'tools'.*{words}") as refused:
        checked_tools(value, "tools")
    assert refused.value.code == "bad_tools"


def test_tools_that_nobody_reads_stand_beside_the_messages() -> None:
    body = pa.struct([("messages", pa.list_(pa.string())), ("tools", pa.string())])
    columns = {"chat": pa.string(), "tools": pa.string(), "body": body, "text": pa.string()}
    assert unread_tools(columns, ["chat"]) == "tools"
    assert unread_tools(columns, ["body.messages"]) == "body.tools"
    assert unread_tools(columns, ["text.messages"]) is None  # what stands inside text is not known
    assert unread_tools(columns, []) is None
    assert unread_tools({"chat": pa.string()}, ["chat"]) is None
