"""Bodies from bytes: JSON of bounded depth, then the endpoint's wire model; faults name the key."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError

from raygen.wire.base import Endpoint, WireModel
from raygen.wire.errors import ApiError

Wire = TypeVar("Wire", bound=WireModel)


def parse_json(data: bytes) -> dict[str, Any]:
    """Return the object that a body is. Raises ApiError `invalid_json`."""
    try:
        body = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise ApiError(
            400, "invalid_json", f"the body is not JSON: {error.msg}, at character {error.pos}"
        ) from None
    if not isinstance(body, dict):
        raise ApiError(400, "invalid_json", f"the body is to be a JSON object, not {_kind(body)}")
    return body


def parse_body(endpoint: Endpoint[Any], body: dict[str, Any]) -> Any:
    """Return a body as the endpoint's wire model. Raises ApiError, naming the key."""
    return parse_as(endpoint.Body, body)


def parse_as(model: type[Wire], body: dict[str, Any]) -> Wire:
    """Return JSON as a wire model. Raises ApiError `invalid_value` or `missing_required_parameter`, naming the key."""
    try:
        return model.model_validate(body)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        param = ".".join(str(part) for part in fault["loc"] if not _is_branch(part))
        if fault["type"] == "missing":
            raise ApiError(
                400, "missing_required_parameter", f"{param}: it is required, and not there", param
            ) from None
        given = repr(fault["input"])
        shown = given if len(given) <= 80 else f"{given[:77]}..."
        message = fault["msg"].removeprefix("Value error, ")
        where = f"{param}: " if param else ""
        raise ApiError(400, "invalid_value", f"{where}{message}; given: {shown}", param or None) from None
    except RecursionError:
        raise ApiError(400, "invalid_json", "the body is nested too deeply") from None


def unknown_keys(body: BaseModel, prefix: str = "") -> Iterator[str]:
    """Yield the keys of a body that its wire models do not know, as paths."""
    for key in body.model_extra or {}:
        yield f"{prefix}{key}"
    for key in type(body).model_fields:
        value = getattr(body, key)
        if isinstance(value, BaseModel):
            yield from unknown_keys(value, f"{prefix}{key}.")


def _is_branch(part: object) -> bool:
    """Whether a part of a place names a branch of a union, which is no key of the body."""
    return isinstance(part, str) and not part.isidentifier()


def _kind(value: object) -> str:
    names = {list: "an array", str: "a string", bool: "a boolean", int: "a number", float: "a number"}
    return names.get(type(value), "null")
