"""Tools on the wire: what a model may call, and whether it has to."""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import Field

from raygen.wire.base import Served, WireModel
from raygen.wire.errors import ApiError
from raygen.wire.facts import facts_of, unsupported
from raygen.wire.text.constraints import Form

MOST_TOOLS = 128


class Function(WireModel):
    name: str = Field(pattern=r"^[\w.-]{1,64}$")
    description: str | None = None
    parameters: dict[str, Any] | None = Field(None, description="a JSON schema of an object")


class Tool(WireModel):
    type: Literal["function"]
    function: Function


class FunctionName(WireModel):
    name: str


class NamedTool(WireModel):
    type: Literal["function"]
    function: FunctionName


Choice = Literal["none", "auto", "required"] | NamedTool


def engine_tools(tools: list[Tool] | None, choice: Choice | None, served: Served) -> list[dict[str, Any]]:
    """Return the tools that a model is told of, in the form that engines take; none: it may call nothing.

    Raises:
        ApiError: `invalid_value`, a tool has to be called and there is none of that name; `unsupported_parameter`.
    """
    names = [tool.function.name for tool in tools or ()]
    if isinstance(choice, NamedTool) and choice.function.name not in names:
        raise ApiError(
            400,
            "invalid_value",
            f"tool_choice: no tool {choice.function.name[:80]!r} in tools",
            "tool_choice",
        )
    if choice == "required" and not names:
        raise ApiError(400, "invalid_value", "tool_choice: required, and there are no tools", "tool_choice")
    if not tools or choice == "none":
        return []
    if not facts_of(served).takes_tools:
        raise unsupported(served, "tools", "takes no tools")
    if len(set(names)) < len(names):
        raise ApiError(400, "invalid_value", "tools: two of them have the same name", "tools")
    return [
        {"type": "function", "function": tool.function.model_dump(include=FUNCTION, exclude_none=True)}
        for tool in tools
    ]


FUNCTION = set(Function.model_fields)


def call_form(tools: list[Tool], choice: Choice | None) -> Form | None:
    """Return what an answer that has to be a call has to be: JSON of a name and arguments; None: it need be none."""
    if isinstance(choice, NamedTool):
        tools = [tool for tool in tools if tool.function.name == choice.function.name]
    elif choice != "required":
        return None
    forms = [_call_schema(tool.function) for tool in tools]
    if not forms:
        return None  # `engine_tools` says that there is none of that name
    return Form("tool_choice", "json_schema", forms[0] if len(forms) == 1 else {"anyOf": forms})


def tools_bytes(tools: list[Tool] | None) -> int:
    """Return about how long tools are where a template writes them, in bytes."""
    return sum(len(json.dumps(tool.function.model_dump(exclude_none=True))) for tool in tools or ())


def _call_schema(function: Function) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            "name": {"const": function.name},
            "arguments": function.parameters or {"type": "object"},
        },
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }
