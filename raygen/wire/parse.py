"""Bodies from bytes: JSON of bounded depth, then the endpoint's wire model; faults name the key."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError

from raygen.json_text import DEEPEST, is_too_deep
from raygen.wire.base import Endpoint, WireModel
from raygen.wire.errors import ApiError

LONGEST_HEADER = 1000  # characters
MOST_FAULTS = 64  # that are looked at, to tell one
WORDS = dict.fromkeys(("model_type", "dict_type"), "Input should be an object")
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
    if is_too_deep(data, body):
        raise ApiError(400, "invalid_json", f"the body is nested too deeply: at most {DEEPEST} levels")
    return body


def parse_body(endpoint: Endpoint[Any], body: dict[str, Any]) -> Any:
    """Return a body as the endpoint's wire model. Raises ApiError, naming the key."""
    return parse_as(endpoint.Body, body)


def parse_as(model: type[Wire], body: dict[str, Any]) -> Wire:
    """Return JSON as a wire model. Raises ApiError `invalid_value` or `missing_required_parameter`, naming the key."""
    try:
        return model.model_validate(body)
    except ValidationError as error:
        raise _refusal(error, body) from None
    except RecursionError:
        raise ApiError(400, "invalid_json", "the body is nested too deeply") from None


def unknown_keys(body: BaseModel, prefix: str = "") -> Iterator[str]:
    """Yield the keys of a body that its wire models do not know, as paths without the numbers of lists; some more than once."""
    for key in body.model_extra or {}:
        yield f"{prefix}{key}"
    for key, field in type(body).model_fields.items():
        value = getattr(body, key)
        for each in value if isinstance(value, list) else (value,):
            if not isinstance(each, BaseModel):
                break
            yield from unknown_keys(each, f"{prefix}{field.alias or key}.")


def ignored_keys(endpoint: Endpoint[Any], body: BaseModel) -> str | None:
    """Return the keys of a body that change nothing, fit for a header; None: each does something."""
    known = (
        key for key in sorted(endpoint.ignored & body.model_fields_set) if getattr(body, key) is not None
    )
    # Keys are a client's own words: none may end the header, or hold what headers cannot.
    found = dict.fromkeys(ascii(key)[1:-1] for key in (*known, *unknown_keys(body)))
    return ", ".join(found)[:LONGEST_HEADER] or None


def _refusal(error: ValidationError, body: dict[str, Any]) -> ApiError:
    """Return what is told of a wrong body. Of several branches that it could have taken: the one that it took furthest."""
    faults = error.errors(include_url=False)[:MOST_FAULTS]
    places = [_place(fault["loc"], body, fault["type"] == "missing") for fault in faults]
    longest = max(len(place) for place in places)
    deepest = next(place for place in places if len(place) == longest)
    meant = [fault for fault, place in zip(faults, places, strict=True) if place == deepest]
    fault, param = meant[0], ".".join(map(str, deepest))
    if fault["type"] == "missing":
        return ApiError(400, "missing_required_parameter", f"{param}: it is required, and not there", param)
    said = dict.fromkeys(
        WORDS.get(each["type"]) or each["msg"].removeprefix("Value error, ") for each in meant[:4]
    )
    shown = reprlib.repr(fault["input"])
    where = f"{param}: " if param else ""
    return ApiError(400, "invalid_value", f"{where}{'; or: '.join(said)}; given: {shown}", param or None)


def _place(loc: tuple[Any, ...], body: Any, missing: bool) -> list[Any]:
    """Return where in a body a fault is: pydantic's place without the branches of unions, which are no keys of the body."""
    found: list[int | str] = []
    for number, part in enumerate(loc):
        if (isinstance(body, dict) and part in body) or (
            isinstance(body, list) and isinstance(part, int) and part < len(body)
        ):
            body = body[part]
        elif not (missing and number == len(loc) - 1):
            continue
        found.append(part)
    return found


def _kind(value: object) -> str:
    names = {list: "an array", str: "a string", bool: "a boolean", int: "a number", float: "a number"}
    return names.get(type(value), "null")
