"""The description of a service to programs: its OpenAPI document, with every route that is not only the console's."""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

from pydantic import BaseModel, Field

from raygen.serve.batches.requests import CreateBody
from raygen.version import __version__
from raygen.wire import ENDPOINTS, endpoint_at
from raygen.wire.base import WireModel
from raygen.wire.models import ModelList, ModelObject
from raygen.wire.openapi import Described, described, document


class AdapterBody(WireModel):
    """An adapter to load."""

    model: str = Field(description="the model that it belongs to")
    name: str = Field(description="it is asked as MODEL:NAME")
    ref: str = Field(description="where it is: hf:..., s3://..., ./dir")


class Page(BaseModel):
    """A page of a list."""

    after: str | None = Field(None, description="the id after which the page begins")
    limit: int | None = Field(None, description="how many at most")


class FilePage(Page):
    purpose: str | None = None
    order: Literal["asc", "desc"] | None = None


class Health(BaseModel):
    status: str


class Anything(BaseModel):
    model_config = {"extra": "allow"}


FORM = {
    "type": "object",
    "required": ["file", "purpose"],
    "properties": {
        "file": {"type": "string", "format": "binary"},
        "purpose": {"type": "string", "enum": ["batch"]},
        "expires_after[anchor]": {"type": "string", "enum": ["created_at"]},
        "expires_after[seconds]": {"type": "integer", "minimum": 3600, "maximum": 2592000},
    },
}


@cache
def described_service() -> dict[str, Any]:
    """Return the OpenAPI document."""
    routes = [
        *(described(endpoint_at(path)) for path in ENDPOINTS.own),
        Described("get", "/v1/models", "List the models.", answer=ModelList),
        Described("get", "/v1/models/{model}", "Describe a model.", answer=ModelObject),
        Described("post", "/v1/files", "Upload a file.", FORM, Anything, body_type="multipart/form-data"),
        Described("get", "/v1/files", "List files, results among them.", answer=Anything, query=FilePage),
        Described("get", "/v1/files/{file_id}", "Describe a file.", answer=Anything),
        Described("delete", "/v1/files/{file_id}", "Delete a file.", answer=Anything, refusals=(409,)),
        Described("get", "/v1/files/{file_id}/content", "Read a file.", media=("application/octet-stream",)),
        Described("post", "/v1/batches", "Begin a batch.", CreateBody, Anything, refusals=(409,)),
        Described("get", "/v1/batches", "List batches.", answer=Anything, query=Page),
        Described("get", "/v1/batches/{batch_id}", "Describe a batch.", answer=Anything),
        Described(
            "post", "/v1/batches/{batch_id}/cancel", "Cancel a batch.", answer=Anything, refusals=(409,)
        ),
        Described(
            "post", "/v1/batches/{batch_id}/retry", "Ask failed rows again.", answer=Anything, refusals=(409,)
        ),
        Described("get", "/v1/adapters", "List adapters.", answer=Anything),
        Described("post", "/v1/adapters", "Load an adapter.", AdapterBody, Anything, refusals=(409,)),
        Described("delete", "/v1/adapters/{adapter}", "Drop an adapter.", answer=Anything, refusals=(409,)),
        Described(
            "get", "/", "Where things are; of a browser, the way to the console.", answer=Anything, open=True
        ),
        Described("get", "/health", "Whether it is ready.", answer=Health, open=True),
        Described("get", "/metrics", "Figures, for Prometheus.", media=("text/plain",)),
    ]
    return document("raygen", __version__, routes)
