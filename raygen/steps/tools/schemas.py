"""Schemas: is a text JSON that fits a JSON schema, and what is wrong with it if not?"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from fractions import Fraction
from typing import Any

from jsonschema import (
    Draft4Validator,
    Draft6Validator,
    Draft7Validator,
    Draft201909Validator,
    Draft202012Validator,
    ValidationError,
)
from jsonschema.exceptions import SchemaError, best_match
from jsonschema.validators import extend, validator_for
from jsonschema_specifications import REGISTRY as SPECIFICATIONS
from referencing.exceptions import Unresolvable

from raygen.errors import RowError
from raygen.json_text import read_json
from raygen.steps.tools.patterns import Pattern

OLDER = (Draft201909Validator, Draft7Validator, Draft6Validator, Draft4Validator)
LONGEST = 300  # characters of a finding
# Of one text. Parts that refer to parts may be looked at more often than there are atoms.
LIMIT_S = 2.0
_DEADLINE: ContextVar[float] = ContextVar("deadline", default=math.inf)


class Schema:
    """A JSON schema to compare texts with. No reference to another document is fetched.

    Args:
        dialect: how it is read, a validator class of jsonschema.
    """

    def __init__(self, schema: Mapping[str, Any], dialect: Any = Draft202012Validator) -> None:
        kept: Any = extend(
            dialect, {key: _in_time(rule) for key, rule in {**dialect.VALIDATORS, **OWN}.items()}
        )  # type: ignore[no-untyped-call]
        # With the drafts themselves and nothing else: jsonschema's own registry would fetch what a schema names.
        self._validator = kept(schema, registry=SPECIFICATIONS)

    def fault_in(self, text: str) -> str | None:
        """Say what is wrong with a text, in a line; None: it is JSON, one value and nothing else, that fits.

        Raises RowError: a pattern, or the schema as a whole, takes too long.
        """
        ends = _DEADLINE.set(time.monotonic() + LIMIT_S)
        try:
            value = read_json(text)
            wrong = best_match(self._validator.iter_errors(value))
        except json.JSONDecodeError as error:
            return f"it is not JSON: {error}"
        except Unresolvable:
            return "the schema refers to what it does not hold"
        except RecursionError:
            return "it is nested too deeply to be compared with the schema"
        finally:
            _DEADLINE.reset(ends)
        if wrong is None:
            return None
        place = "/".join(map(str, wrong.absolute_path))
        return f"{place or 'the value'}: {wrong.message[:LONGEST]}"


def dialect_of(schema: Mapping[str, Any]) -> Any:
    """Return how a schema is to be read: as its `$schema` says, else as the newest draft that it is right in.

    Raises SchemaError: it is right in none.
    """
    first = validator_for(schema, Draft202012Validator)
    for dialect in (first, *(() if "$schema" in schema else OLDER)):
        try:
            dialect.check_schema(schema)
        except SchemaError as error:
            if dialect is first:
                wrong = error
        else:
            return dialect
    raise wrong


def _in_time(rule: Callable[..., Any]) -> Callable[..., Any]:
    """Return a keyword's rule that is not begun after the deadline."""

    def looked_at(validator: Any, value: Any, instance: Any, schema: Any) -> Any:
        if time.monotonic() > _DEADLINE.get():
            raise RowError(
                "schema_timeout",
                f"the schema was compared with a text for {LIMIT_S:g} s without an end; say it shorter",
            )
        return rule(validator, value, instance, schema)

    return looked_at


def _pattern(validator: Any, pattern: str, value: Any, schema: Any) -> Iterator[ValidationError]:
    """As jsonschema has it, but that its own may never end."""
    if isinstance(value, str) and not Pattern(pattern).occurs_in(value):
        yield ValidationError(f"{value!r} does not match {pattern!r}")


def _pattern_properties(
    validator: Any, patterns: Mapping[str, Any], value: Any, schema: Any
) -> Iterator[ValidationError]:
    """As jsonschema has it, but in bounded time."""
    if not validator.is_type(value, "object"):
        return
    for pattern, inner in patterns.items():
        looked_for = Pattern(pattern)
        for key in filter(looked_for.occurs_in, value):
            yield from validator.descend(value[key], inner, path=key, schema_path=pattern)


def _additional_properties(validator: Any, inner: Any, value: Any, schema: Any) -> Iterator[ValidationError]:
    """As jsonschema has it, but in bounded time."""
    if not validator.is_type(value, "object"):
        return
    patterns = [Pattern(each) for each in schema.get("patternProperties", ())]
    known = schema.get("properties", ())
    more = [key for key in value if key not in known and not any(each.occurs_in(key) for each in patterns)]
    if validator.is_type(inner, "object"):
        for key in more:
            yield from validator.descend(value[key], inner, path=key)
    elif not inner and more:
        yield ValidationError(f"Additional properties are not allowed: {', '.join(map(repr, more))}")


def _multiple_of(validator: Any, step: Any, value: Any, schema: Any) -> Iterator[ValidationError]:
    """As jsonschema has it, but by the decimal digits: 0.07 is a multiple of 0.01."""
    if validator.is_type(value, "number") and Fraction(str(value)) % Fraction(str(step)):
        yield ValidationError(f"{value!r} is not a multiple of {step}")


OWN = {
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional_properties,
    "multipleOf": _multiple_of,
}
