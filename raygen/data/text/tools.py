"""Tools: a row's or a job's list of tools that a model may call, checked, in the form of OpenAI's chat completions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from raygen.data.paths import ANY, type_at
from raygen.data.text.messages import from_json, without_nulls
from raygen.errors import RowError


def checked_tools(value: Any, column: str, *, padded: bool = False) -> list[dict[str, Any]] | None:
    """Return a row's tools: [{type: function, function: {name, description, parameters}}, ...]; None if it has none.

    Args:
        value: a list of such, or of the inner objects alone; or either as JSON. A tool's `parameters` may be JSON, too.
        padded: it comes of a file with column types: see `checked_messages`.

    Raises:
        RowError: `bad_tools`; names the tool, from 0 on.
    """
    if isinstance(value, str):
        if not value.strip():
            return None
        value, padded = from_json(value), False
        if value is None:
            raise RowError("bad_tools", f"column {column!r} holds text that is no JSON list of tools")
    if value is None or value == []:
        return None
    if not isinstance(value, list):
        raise RowError("bad_tools", f"column {column!r} holds no list of tools [{{name, parameters}}, ...]")
    try:
        return whole_tools(without_nulls(value) if padded else value)
    except ValueError as error:
        raise RowError("bad_tools", f"column {column!r}: {error}") from None


def unread_tools(columns: Mapping[str, pa.DataType], messages: Sequence[str]) -> str | None:
    """Return the column of tools that a source has beside columns of messages, which are all that is read of it."""
    for column in messages:
        before, dot, _ = column.rpartition(".")
        beside = f"{before}{dot}tools"
        if beside not in messages and type_at(columns, beside) not in (None, ANY):
            return beside
    return None


def whole_tools(tools: Sequence[Any]) -> list[dict[str, Any]]:
    """Return tools in their whole form. Raises ValueError: one has no name, or no parameters that are an object."""
    return [_whole(tool, number) for number, tool in enumerate(tools)]


def _whole(tool: Any, number: int) -> dict[str, Any]:
    if isinstance(tool, str):
        tool = from_json(tool)
    if not isinstance(tool, dict):
        raise ValueError(f"tool {number} is no object {{name, description, parameters}}")
    if tool.get("type", "function") != "function":
        return tool  # of a kind that some endpoint knows
    inner = tool.get("function", tool)
    if not isinstance(inner, dict) or not isinstance(inner.get("name"), str) or not inner["name"]:
        raise ValueError(f"tool {number} has no name")
    function = {key: value for key, value in inner.items() if key != "type" or inner is not tool}
    parameters = function.get("parameters")
    if isinstance(parameters, str):
        parameters = function["parameters"] = from_json(parameters)
        if parameters is None:
            raise ValueError(f"tool {number} ({inner['name']}) has parameters that are no JSON")
    if parameters is None:
        function.pop("parameters", None)
    elif not isinstance(parameters, dict):
        raise ValueError(f"tool {number} ({inner['name']}) has parameters that are no object (a JSON schema)")
    beside = {key: value for key, value in tool.items() if key not in ("type", "function")}
    return {**(beside if inner is not tool else {}), "type": "function", "function": function}
