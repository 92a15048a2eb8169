"""Models on the wire: what `/v1/models` lists."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from pydantic import BaseModel, Field

from raygen.wire.base import Served
from raygen.wire.facts import verbs_of


class ModelObject(BaseModel):
    """A model as clients name it."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    parent: str | None = Field(None, description="of an adapter: the model that it belongs to")
    verbs: list[str] = Field(description="what it answers: generate, embed, classify, ...: an extension")


class ModelList(BaseModel):
    object: Literal["list"]
    data: list[ModelObject]


def model_object(served: Served) -> dict[str, Any]:
    """Return a model's entry."""
    return {
        "id": served.name,
        "object": "model",
        "created": served.created_s,
        "owned_by": "raygen",
        "parent": None if served.adapter is None else served.name.removesuffix(f":{served.adapter}"),
        "verbs": sorted(verbs_of(served)),
    }


def model_list(listed: Iterable[Served]) -> dict[str, Any]:
    """Return the list of models."""
    return {"object": "list", "data": [model_object(served) for served in listed]}
