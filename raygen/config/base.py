"""What every description is: frozen, and strict about unknown keys; and the names, patterns and days that they share."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import date
from typing import Annotated, Any

import regex
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
)

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")]
# What templates about one sample read beside the row.
SAMPLE_NAMES = frozenset({"sample", "answer", "finding"})


def _not_a_sample_name(name: str) -> str:
    if name in SAMPLE_NAMES:
        raise ValueError(f"{name!r} is what templates call a part of the sample at hand; choose another name")
    return name


Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$"), AfterValidator(_not_a_sample_name)]
Probability = Annotated[float, Field(ge=0, le=1)]
Function = Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]


def _tools_from_text(tools: Any) -> Any:
    return json.loads(tools) if isinstance(tools, str) and tools.lstrip().startswith("[") else tools


def _plain_tools(tools: Any) -> Any:
    if not isinstance(tools, str):
        try:
            json.dumps(tools, allow_nan=False)
        except (TypeError, ValueError) as error:  # YAML has values that JSON has not, such as dates
            raise ValueError(f"cannot be written as JSON: {error}") from None
    return tools


def _tools_to_text(tools: Any) -> Any:
    """As text: models read tools in the order of their keys, and plans are written with sorted keys, without nulls."""
    return tools if isinstance(tools, str) else json.dumps(tools, ensure_ascii=False)


# Tools that a model is told of: a column of lists of them, or the list itself.
Tools = Annotated[
    str | list[dict[str, Any]],
    BeforeValidator(_tools_from_text),
    AfterValidator(_plain_tools),
    PlainSerializer(_tools_to_text, when_used="json"),
]


def _day(given: Any) -> Any:
    """Read a day as YAML or JSON write it; pydantic would also take numbers, as seconds since 1970."""
    if given is None or type(given) is date or (isinstance(given, str) and DAY.fullmatch(given)):
        return given
    raise ValueError(f"a day, such as 2026-11-30, not {str(given)[:40]!r}")


DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
Day = Annotated[date, BeforeValidator(_day)]


class Frozen(BaseModel):
    """A part of a configuration: it cannot be changed, and has no other keys than its own."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Nothing(Frozen):
    """The description of what has no settings."""


def in_order(low: float | None, high: float | None) -> None:
    """Raise ValueError when nothing lies between two bounds, at_least and at_most."""
    if low is not None and high is not None and high < low:
        raise ValueError(f"at_most ({high:g}) is less than at_least ({low:g})")


def exactly_one(config: BaseModel, *fields: str) -> str:
    """Return which one of these fields is given. Raises ValueError when none is, or several."""
    return the_one([field for field in fields if getattr(config, field) is not None], fields)


def the_one(given: Sequence[str], allowed: Sequence[str]) -> str:
    """Return the only one that is given. Raises ValueError when there is none, or several."""
    if len(given) != 1:
        what = f"given: {', '.join(given)}" if given else "none is given"
        raise ValueError(f"give exactly one of {', '.join(allowed)}; {what}")
    return given[0]


def is_unicode(text: str) -> bool:
    """Can a text be stored? Half of a surrogate pair cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_number(text: str) -> bool:
    """Whether a text is a number such as `12`: `isdigit` takes signs like `²` too, which `int` does not."""
    return text.isascii() and text.isdecimal()


def pattern_of(text: str) -> str:
    """Check a regular expression. Raises ValueError."""
    try:
        re.compile(text)
        regex.compile(text)  # which looks for it: see raygen/steps/tools/patterns.py
    except (re.error, regex.error, OverflowError) as error:
        raise ValueError(f"not a regular expression: {error}") from None
    except (RecursionError, MemoryError):
        raise ValueError("a regular expression that is nested too deeply, or too large") from None
    return text


def grouped_pattern(text: str) -> str:
    """Check a regular expression that has to have a group. Raises ValueError."""
    if not re.compile(pattern_of(text)).groups:
        raise ValueError("it has no group: put parentheses around what is wanted")
    return text
