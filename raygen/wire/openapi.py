"""OpenAPI: the document that describes a service to programs, from the wire models that it parses bodies with."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, Field
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from raygen.wire.base import Endpoint

JSON, STREAM = "application/json", "text/event-stream"
REFUSALS = {
    400: "what is wrong with the request",
    401: "no key, or one that is not known",
    403: "what the key does not allow",
    404: "no such model or object",
    409: "the object is not in a state for this",
    413: "the body is too large",
    429: "a limit is reached, or the model's queue is full; Retry-After says when to ask again",
    500: "an error inside the server",
    503: "the model is loading or away; Retry-After says when to ask again",
}
ALWAYS = (400, 401, 403, 404, 413, 429, 500, 503)


class ErrorObject(BaseModel):
    """What is wrong. Programs go by status, type and code."""

    message: str
    type: str
    param: str | None = Field(description="the key of the body that is wrong")
    code: str
    request_id: str | None = None


class ErrorBody(BaseModel):
    error: ErrorObject


@dataclass(frozen=True, slots=True)
class Described:
    """One route, as the document tells of it.

    Args:
        path: with names in braces: `/v1/batches/{batch_id}`.
        body: the model of its JSON, or the schema of a form; None: it takes none.
        answer: the model of its JSON; None: `media` are bytes.
        query: the model whose fields are parameters behind the `?`.
        media: content types of answers.
        refusals: statuses beside those of all routes.
        open: whether it needs no key.
    """

    method: str
    path: str
    summary: str
    body: type[BaseModel] | dict[str, Any] | None = None
    answer: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    body_type: str = JSON
    media: tuple[str, ...] = (JSON,)
    refusals: tuple[int, ...] = ()
    open: bool = False


def described(endpoint: Endpoint[Any]) -> Described:
    """Return what the document says of an endpoint."""
    summary = inspect.cleandoc(type(endpoint).__doc__ or endpoint.path).splitlines()[0]
    media = ((JSON,) if endpoint.Answer is not None else ("*/*",)) + ((STREAM,) if endpoint.streams else ())
    return Described("post", endpoint.path, summary, endpoint.Body, endpoint.Answer, media=media)


def document(title: str, version: str, routes: Sequence[Described]) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of these routes."""
    models: dict[tuple[type[BaseModel], JsonSchemaMode], None] = {(ErrorBody, "serialization"): None}
    for route in routes:
        if isinstance(route.body, type):
            models[route.body, "validation"] = None
        if route.answer is not None:
            models[route.answer, "serialization"] = None
        if route.query is not None:
            models[route.query, "validation"] = None
    refs, schemas = models_json_schema(list(models), ref_template="#/components/schemas/{model}")
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, refs)
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version},
        "paths": paths,
        "components": {
            "schemas": schemas.get("$defs", {}),
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        # A service on loopback without keys needs none.
        "security": [{"key": []}, {}],
    }


def _operation(route: Described, refs: dict[Any, dict[str, Any]]) -> dict[str, Any]:
    words = re.findall(r"[A-Za-z0-9]+", route.path)
    operation: dict[str, Any] = {
        "operationId": "_".join([route.method.lower(), *words]),
        "summary": route.summary,
        "responses": {"200": _answer(route, refs), **dict(_refusals(route, refs))},
    }
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)}", route.path)
    ]
    if route.query is not None:
        parameters += _parameters(route.query)
    if parameters:
        operation["parameters"] = parameters
    if route.body is not None:
        schema = refs[route.body, "validation"] if isinstance(route.body, type) else route.body
        operation["requestBody"] = {"required": True, "content": {route.body_type: {"schema": schema}}}
    if route.open:
        operation["security"] = [{}]
    return operation


def _answer(route: Described, refs: dict[Any, dict[str, Any]]) -> dict[str, Any]:
    def schema(media: str) -> dict[str, Any]:
        if media == JSON:
            return refs[route.answer, "serialization"] if route.answer is not None else {}
        return {"type": "string"}

    return {
        "description": "the answer",
        "content": {media: {"schema": schema(media)} for media in route.media},
    }


def _refusals(route: Described, refs: dict[Any, dict[str, Any]]) -> Iterable[tuple[str, dict[str, Any]]]:
    schema = refs[ErrorBody, "serialization"]
    for status in sorted({*ALWAYS, *route.refusals}):
        yield (
            str(status),
            {"description": REFUSALS.get(status, "a refusal"), "content": {JSON: {"schema": schema}}},
        )


def _parameters(query: type[BaseModel]) -> list[dict[str, Any]]:
    schema = query.model_json_schema()
    required = schema.get("required", ())
    return [
        {"name": name, "in": "query", "required": name in required, "schema": each}
        for name, each in schema["properties"].items()
    ]
