"""The steps that stand at a program's end, as they are described: redact, and deduplicate."""

from __future__ import annotations

import re
from typing import ClassVar, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from raygen.config.base import Frozen, exactly_one

Entity = Literal["email", "phone", "credit_card", "iban", "ip", "url", "ssn"]


class Redact(Frozen):
    """Replace personal data: in all that the row's outcome keeps of what was generated."""

    ALL: ClassVar[tuple[str, ...]] = ("email", "phone", "credit_card", "iban", "ip", "url", "ssn")

    model_config = ConfigDict(serialize_by_alias=True)

    entities: tuple[Entity, ...] = Field(
        ("email", "phone", "credit_card", "iban", "ip", "ssn"), min_length=1, description="what is looked for"
    )
    replacement: str = Field(
        "<{entity}>", alias="with", max_length=100, description="what stands there then; {entity} is its name"
    )

    @field_validator("entities")
    @classmethod
    def _once(cls, entities: tuple[Entity, ...]) -> tuple[Entity, ...]:
        if len(set(entities)) != len(entities):
            raise ValueError("an entity stands there twice")
        return entities

    @field_validator("replacement")
    @classmethod
    def _plain(cls, text: str) -> str:
        """What is put in must not look like what is taken out: it would be found again."""
        rest = text.replace("{entity}", "")
        if re.search(r"[{}]", rest):
            raise ValueError("the only name in braces is {entity}")
        if found := re.search(r"[\d@.:/+]", rest):
            raise ValueError(f"{found[0]!r} could be taken for personal data; leave out digits and @ . : / +")
        return text


class Near(Frozen):
    """How alike two texts are: the share of their runs of characters that both have (Jaccard), estimated by MinHash."""

    similarity: float = Field(0.8, ge=0.5, le=1, description="from this on they are duplicates")
    ngram: int = Field(5, ge=1, le=100, description="characters of a run")
    permutations: int = Field(
        128, ge=16, le=1024, description="more: a surer estimate, and 2 bytes a row for each"
    )


class Deduplicate(Frozen):
    """Of rows that are alike, keep the first. Decided once, at the end of the run, over all accepted rows in their order."""

    of: str = Field(
        "{{ sample }}", description="a template: what is compared; of every accepted sample of the row"
    )
    exact: Literal[True] | None = Field(None, description="the same but for case and white space")
    near: Near | None = None

    @model_validator(mode="after")
    def _one(self) -> Deduplicate:
        exactly_one(self, "exact", "near")
        return self
