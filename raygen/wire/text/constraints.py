"""Constraints: what a body says of an answer's form, as the one constraint that engines keep to."""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from raygen.config.constraint import Constraint
from raygen.json_text import read_json
from raygen.wire.base import Served
from raygen.wire.errors import ApiError
from raygen.wire.facts import facts_of, unsupported
from raygen.wire.text.body import ResponseFormat, StructuredOutputs, TextBody

LONGEST = 65_536  # characters of a constraint as JSON
MOST_KNOWN = 256  # constraints that are known to be sound
# A grammar may take a second to look at, without holding up anybody else but those who bring one.
_READERS = ThreadPoolExecutor(2, "constraint")
_KNOWN: OrderedDict[str, Constraint] = OrderedDict()


@dataclass(frozen=True, slots=True)
class Form:
    """What an answer has to be, as it was said.

    Attributes:
        param: the key of the body that says so.
        kind: of constraint. value: of that kind; whether any text keeps to it is not known yet.
    """

    param: str
    kind: str
    value: Any


def form_of(body: TextBody) -> Form | None:
    """Return what an answer has to be; None: anything. Raises ApiError `invalid_value`: two of them, or none of its kind."""
    found = _said(body)
    if len(found) > 1:
        first, second = found[0].param, found[1].param
        raise ApiError(400, "invalid_value", f"{second}: not beside {first}: an answer has one form", second)
    return found[0] if found else None


def check_form(form: Form | None, served: Served) -> None:
    """Raise ApiError `unsupported_parameter` unless the model keeps to constraints of this kind."""
    if form is None:
        return
    constraint = Constraint.model_construct(**{form.kind: form.value})
    if fault := facts_of(served).constraint_fault(constraint, served.model.spec.options):
        raise unsupported(served, form.param, fault)


async def constraint_of(form: Form | None) -> Constraint | None:
    """Return a form as a constraint. Raises ApiError `invalid_value`: no text keeps to it."""
    if form is None:
        return None
    text = json.dumps([form.kind, form.value])
    if len(text) > LONGEST:
        raise ApiError(
            400,
            "invalid_value",
            f"{form.param}: {len(text)} characters; at most {LONGEST} are taken",
            form.param,
        )
    found = _KNOWN.get(text)
    if found is None:
        found = await asyncio.get_running_loop().run_in_executor(_READERS, _read, form)
        _KNOWN[text] = found
        while len(_KNOWN) > MOST_KNOWN:
            _KNOWN.popitem(last=False)
    return found


def _read(form: Form) -> Constraint:
    try:
        return Constraint.model_validate({form.kind: form.value})
    except (ValidationError, RecursionError):
        # What a library says of a grammar is no text for clients.
        words = f"{form.param}: no {form.kind.replace('_', ' ')} that an answer could keep to"
        raise ApiError(400, "invalid_value", words, form.param) from None


def _said(body: TextBody) -> list[Form]:
    """Return what a body says."""
    found = [] if body.response_format is None else _of_format(body.response_format)
    if body.structured_outputs is not None:
        found.append(_of_outputs(body.structured_outputs))
    for kind, value in (
        ("json", body.guided_json),
        ("regex", body.guided_regex),
        ("choice", body.guided_choice),
        ("grammar", body.guided_grammar),
    ):
        if value is not None:
            param = f"guided_{kind}"
            found.append(_schema(param, value) if kind == "json" else Form(param, kind, value))
    return found


def _schema(param: str, value: Any) -> Form:
    """Return a form of a JSON schema; it may be JSON text."""
    if isinstance(value, str):
        try:
            value = read_json(value)
        except json.JSONDecodeError:
            value = None
    if not isinstance(value, dict):
        raise ApiError(400, "invalid_value", f"{param}: a JSON schema, which is an object", param)
    return Form(param, "json_schema", value)


def _of_format(given: ResponseFormat) -> list[Form]:
    if given.type == "text":
        return []
    if given.type == "json_object":
        return [Form("response_format", "json_schema", {"type": "object"})]
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
    return [Form("response_format", "json_schema", given.json_schema.schema_)]


def _of_outputs(given: StructuredOutputs) -> Form:
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
    kind, value = found[0]
    return (
        _schema("structured_outputs", value)
        if kind == "json_schema"
        else Form("structured_outputs", kind, value)
    )
