"""Wire: the OpenAI protocol, as a server speaks it. A body becomes requests of engines, their results become a body.

Contract: no sockets, no storage and no Ray; one file an endpoint, with a wire model of its own each. The same endpoint answers
an HTTP request, a line of a batch file and a row of a job. Whatever is wrong is an `ApiError`; no other text leaves.
Start reading: base.py.

A new endpoint is a file, and a line here.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from raygen.registry import Registry

if TYPE_CHECKING:
    from raygen.wire.base import Endpoint

# By path.
ENDPOINTS = Registry(
    "endpoint",
    "raygen.endpoints",
    {
        "/v1/chat/completions": "raygen.wire.chat:ChatCompletions",
        "/v1/completions": "raygen.wire.completions:Completions",
        "/v1/embeddings": "raygen.wire.embeddings:Embeddings",
        "/v1/classifications": "raygen.wire.classifications:Classifications",
        "/v1/evaluations": "raygen.steps.evaluations:Evaluations",
        "/v1/images/generations": "raygen.wire.images:ImageGenerations",
        "/v1/audio/speech": "raygen.wire.speech:Speech",
    },
    kind="raygen.wire.base:Endpoint",
)


def endpoint_at(path: str, image_hosts: Collection[str] = ()) -> Endpoint[Any]:
    """Return the endpoint at a path, such as `/v1/embeddings`. Raises ValueError with those there are."""
    kind: type[Endpoint[Any]] = ENDPOINTS.load(path)
    return kind(image_hosts)
