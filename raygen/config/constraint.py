"""Constraint: what a sample's whole text has to be, as a job says it; one that no text keeps to is refused."""

from __future__ import annotations

import json
from typing import Any

from pydantic import Field, field_serializer, field_validator, model_validator

from raygen.config.base import Frozen, exactly_one
from raygen.config.grammar import fault_in


class Constraint(Frozen):
    """What a sample's whole text has to be. A token that could not lead there is never chosen."""

    choice: tuple[str, ...] | None = Field(
        None, min_length=1, max_length=10_000, description="one of these texts"
    )
    regex: str | None = Field(
        None,
        description=r"a text that it matches as a whole; \d is 0 to 9; without look-around and back-references",
    )
    json_schema: dict[str, Any] | None = Field(None, description="JSON that fits it, keys in its order")
    grammar: str | None = Field(None, description="a text of this Lark grammar, as llguidance reads them")

    @field_validator("choice")
    @classmethod
    def _distinct_texts(cls, choice: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for number, each in enumerate(choice or ()):
            if not each.strip():
                raise ValueError(f"number {number} has no text")
        if choice is not None and len(set(choice)) < len(choice):
            raise ValueError("a text stands there twice")
        return choice

    @field_validator("json_schema", mode="before")
    @classmethod
    def _schema_from_text(cls, schema: Any) -> Any:
        return json.loads(schema) if isinstance(schema, str) else schema

    @field_validator("json_schema")
    @classmethod
    def _plain_schema(cls, schema: dict[str, Any] | None) -> dict[str, Any] | None:
        try:
            json.dumps(schema, allow_nan=False)
        except (TypeError, ValueError) as error:  # YAML has values that JSON has not, such as dates
            raise ValueError(f"cannot be written as JSON: {error}") from None
        return schema

    @field_serializer("json_schema", when_used="json")
    def _schema_to_text(self, schema: dict[str, Any] | None) -> str | None:
        """As text: the order of its keys decides what is generated, and plans are written with sorted keys."""
        return None if schema is None else json.dumps(schema, ensure_ascii=False)

    @model_validator(mode="after")
    def _one_that_fits_a_text(self) -> Constraint:
        kind = exactly_one(self, *type(self).model_fields)
        fault = fault_in(kind, self.value)
        if fault is not None:
            raise ValueError(f"{kind}: {fault}")
        return self

    @property
    def kind(self) -> str:
        """Which one it is."""
        return exactly_one(self, *type(self).model_fields)

    @property
    def value(self) -> Any:
        return getattr(self, self.kind)
