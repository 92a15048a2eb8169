"""Constraints: what a body says of an answer's form, as the one constraint that engines keep to."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from raygen.config.constraint import Constraint
from raygen.wire.base import Served
from raygen.wire.errors import ApiError
from raygen.wire.facts import facts_of, unsupported
from raygen.wire.text.body import ResponseFormat, StructuredOutputs, TextBody


def constraint_of(body: TextBody, served: Served) -> Constraint | None:
    """Return what an answer has to be; None: anything.

    Raises:
        ApiError: `invalid_value`, two of them, or one that no text keeps to; `unsupported_parameter`, the model keeps to none.
    """
    found = _said(body)
    if len(found) > 1:
        (first, *_), (second, *_) = found[:2]
        raise ApiError(400, "invalid_value", f"{second}: not beside {first}: an answer has one form", second)
    return checked(*found[0], served) if found else None


def checked(param: str, kind: str, value: Any, served: Served) -> Constraint:
    """Return a constraint that the model keeps to. Raises ApiError, as `constraint_of` does."""
    try:
        constraint = Constraint.model_validate({kind: value})
    except ValidationError:
        # What a library says of a grammar is no text for clients.
        raise ApiError(
            400, "invalid_value", f"{param}: no {kind.replace('_', ' ')} that an answer could keep to", param
        ) from None
    if fault := facts_of(served).constraint_fault(constraint, served.model.spec.options):
        raise unsupported(served, param, fault)
    return constraint


def _said(body: TextBody) -> list[tuple[str, str, Any]]:
    """Return what a body says, each as key, kind of constraint and value."""
    found = [] if body.response_format is None else _of_format(body.response_format)
    if body.structured_outputs is not None:
        found += _of_outputs(body.structured_outputs)
    for kind, value in (
        ("json", body.guided_json),
        ("regex", body.guided_regex),
        ("choice", body.guided_choice),
        ("grammar", body.guided_grammar),
    ):
        if value is not None:
            found.append((f"guided_{kind}", "json_schema" if kind == "json" else kind, value))
    return found


def _of_format(given: ResponseFormat) -> list[tuple[str, str, Any]]:
    if given.type == "text":
        return []
    if given.type == "json_object":
        return [("response_format", "json_schema", {"type": "object"})]
    if given.type != "json_schema":
        raise ApiError(
            400,
            "invalid_value",
            f"response_format.type: text, json_object or json_schema, not {given.type[:80]!r}",
            "response_format.type",
        )
    if given.json_schema is None or given.json_schema.schema_ is None:
        param = "response_format.json_schema.schema"
        raise ApiError(400, "missing_required_parameter", f"{param}: it is required, and not there", param)
    return [("response_format", "json_schema", given.json_schema.schema_)]


def _of_outputs(given: StructuredOutputs) -> list[tuple[str, str, Any]]:
    kinds = {
        "regex": given.regex,
        "grammar": given.grammar,
        "choice": given.choice,
        "json_schema": given.json_,
    }
    found = [(kind, value) for kind, value in kinds.items() if value is not None]
    if len(found) != 1:
        raise ApiError(
            400,
            "invalid_value",
            "structured_outputs: exactly one of regex, grammar, choice, json",
            "structured_outputs",
        )
    return [("structured_outputs", *found[0])]
