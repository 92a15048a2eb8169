"""JSON schema: is the sample JSON that fits a schema?"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import unquote

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from pydantic import Field

from raygen.config.base import is_number
from raygen.steps.base import Step
from raygen.steps.checks import Check, Verdict
from raygen.steps.row.calls import Calls
from raygen.steps.row.story import Draft, Story
from raygen.steps.tools.schemas import Schema

if TYPE_CHECKING:
    from raygen.steps.context import Context


REFERENCES = frozenset({"$ref", "$dynamicRef", "$recursiveRef"})


class JsonSchemaCheck(Check):
    """Rejects samples that are not JSON, or do not fit the schema; references to other documents are not followed."""

    reason = "not_the_schema"
    scored = False
    Config = Annotated[dict[str, Any], Field(description="a sample has to be JSON that fits it")]

    def __init__(self, config: dict[str, Any], step: Step) -> None:
        super().__init__(config, step)
        self._schema = Schema(config)

    @classmethod
    def check(cls, config: dict[str, Any], where: str, context: Context) -> None:
        try:
            json.dumps(config, allow_nan=False)
        except (TypeError, ValueError) as error:  # YAML has values that JSON has not, such as dates
            raise ValueError(f"{where}: it is no JSON: {error}") from None
        try:
            Draft202012Validator.check_schema(config)
        except SchemaError as error:
            place = ".".join([where, *map(str, error.absolute_path)])
            raise ValueError(f"{place}: not a JSON schema: {error.message[:200]}") from None
        for reference in _references(config):
            if not reference.startswith("#"):
                raise ValueError(f"{where}: `$ref` to another document is not followed; only `#/...` is")
            if not _names_a_part(reference, config):
                raise ValueError(f"{where}: `$ref: {reference}` names nothing in it")

    async def verdicts(self, story: Story, drafts: Sequence[Draft], calls: Calls) -> list[Verdict]:
        return [self._verdict(draft.text) for draft in drafts]

    def _verdict(self, text: str) -> Verdict:
        fault = self._schema.fault_in(text)
        return Verdict(fault is None, fault)


def _references(value: Any) -> Any:
    """Yield all references in a schema."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in REFERENCES and isinstance(inner, str):
                yield inner
            yield from _references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner)


def _names_a_part(reference: str, schema: Any) -> bool:
    """Return whether a JSON pointer leads anywhere. Anchors and parts with ids of their own are left to the validator."""
    if (reference[1:] and not reference.startswith("#/")) or '"$id"' in json.dumps(schema):
        return True
    here = schema
    for part in unquote(reference[1:]).split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(here, list) and is_number(key) and int(key) < len(here):
            here = here[int(key)]
        elif isinstance(here, dict) and key in here:
            here = here[key]
        else:
            return False
    return True
