"""Answers: where a sample's final answer stands, and what it is."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator, model_validator

from raygen.config.base import Frozen, exactly_one, pattern_of
from raygen.json_text import read_json, write_json
from raygen.steps.tools.patterns import Pattern


class Answer(Frozen):
    """Where a sample's final answer stands: the last match of a pattern (its first group, if it has one), or a JSON field."""

    pattern: str | None = Field(
        None, description="the last match in the text counts: its first group, if it has one"
    )
    json_field: str | None = Field(
        None,
        description="a key, or several with dots between: `result.value`; lists have numbers: `steps.0.text`",
    )

    _compiles = field_validator("pattern")(lambda text: text if text is None else pattern_of(text))

    @model_validator(mode="after")
    def _one(self) -> Answer:
        exactly_one(self, "pattern", "json_field")
        return self


def answer_in(text: str, where: Answer) -> str | None:
    """Return the final answer that stands in a text, or None."""
    if where.pattern is not None:
        answer = next(reversed(Pattern(where.pattern).found(text)), None)
        return answer.strip() if answer is not None else None
    try:
        value = _json_in(text)
        for key in (where.json_field or "").split("."):
            value = value[int(key) if isinstance(value, list) else key]
    except (ValueError, KeyError, IndexError, TypeError):
        return None
    return value if isinstance(value, str) else write_json(value).decode()


def _json_in(text: str) -> Any:
    """Return the JSON that a text is, or the object that it holds among other words. Raises ValueError."""
    try:
        return read_json(text)
    except ValueError:
        return read_json(text[text.index("{") : text.rindex("}") + 1])
