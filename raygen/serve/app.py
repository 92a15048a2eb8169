"""The ASGI application: routes, and the way of a request from its bytes to its answer."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from raygen.engines.requests import Media
from raygen.serve.service import Service
from raygen.serve.tenants.tenant import DEFAULT
from raygen.wire import ENDPOINTS, endpoint_at
from raygen.wire.base import Asked, Endpoint, Piece
from raygen.wire.errors import ApiError, api_error
from raygen.wire.parse import ignored_keys, parse_body, parse_json
from raygen.wire.sse import DONE, event

log = logging.getLogger(__name__)


class Json(Response):
    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return orjson.dumps(content)


def make_app(service: Service) -> Starlette:
    """Return the application over a service."""
    routes = [Route("/health", _health), Route("/v1/models", _models)]
    for path in ENDPOINTS.own:
        routes.append(Route(path, _answering(path), methods=["POST"]))
    app = Starlette(routes=routes, exception_handlers={ApiError: _refusal, Exception: _refusal})
    app.state.service = service
    return app


def _answering(path: str) -> Any:
    async def answer(request: Request) -> Response:
        try:
            endpoint = endpoint_at(path)
        except ValueError:
            raise ApiError(404, "not_found", f"{path} is not served here") from None
        return await _answer(endpoint, request)

    return answer


async def _answer(endpoint: Endpoint[Any], request: Request) -> Response:
    service: Service = request.app.state.service
    if service.draining:
        raise ApiError(503, "shutting_down", "the service is ending", headers={"retry-after": "5"})
    body = parse_body(endpoint, parse_json(await request.body()))
    served = service.catalog.find(endpoint.model_of(body) or "", DEFAULT)
    endpoint.check(body, served)
    asked = Asked(secrets.token_hex(12), secrets.randbits(53), int(time.time()))
    headers = {"x-request-id": asked.request_id}
    if ignored := ignored_keys(endpoint, body):
        headers["x-raygen-ignored"] = ignored
    if endpoint.wants_stream(body):
        pieces = endpoint.stream(body, served, asked)
        first = await anext(pieces, None)
        return StreamingResponse(
            _events(first, pieces, asked), media_type="text/event-stream", headers=headers
        )
    answered = await endpoint.answer(body, served, asked)
    if isinstance(answered.body, Media):
        return Response(answered.body.data, media_type=answered.body.media_type, headers=headers)
    return Json(answered.body, headers={**headers, **answered.headers})


async def _events(first: Piece | None, pieces: AsyncIterator[Piece], asked: Asked) -> AsyncIterator[bytes]:
    """Write pieces as events. A stream that breaks ends with an error event, never with `[DONE]`."""
    try:
        if first is not None:
            yield _written(first)
        async for piece in pieces:
            yield _written(piece)
        yield DONE
    except asyncio.CancelledError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it was, the client has to hear of it
        found = api_error(error)
        log.warning("stream %s broke: %s", asked.request_id, type(error).__name__)
        yield event(found.body(asked.request_id))


def _written(piece: Piece) -> bytes:
    return event(piece.body) if isinstance(piece.body, dict) else piece.body


async def _refusal(request: Request, error: Exception) -> Response:
    found = api_error(error)
    return Json(found.body(), status_code=found.status, headers=found.headers)


async def _health(request: Request) -> Response:
    return Json({"status": "ok"})


async def _models(request: Request) -> Response:
    service: Service = request.app.state.service
    data = [
        {"id": each.name, "object": "model", "created": each.created_s, "owned_by": "raygen"}
        for each in service.catalog.listed(DEFAULT)
    ]
    return Json({"object": "list", "data": data})
