"""The way of a request: from its bytes to its answer, whole or in pieces; what it may use is held, what it used is noted."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from raygen.engines.requests import Media
from raygen.serve.service import Service
from raygen.serve.tenants.limits import Hold
from raygen.serve.tenants.tenant import Tenant
from raygen.wire.base import Asked, Endpoint, Piece, Served
from raygen.wire.errors import ApiError, api_error, retry_after
from raygen.wire.parse import ignored_keys, parse_body, parse_json
from raygen.wire.sse import DONE, LOADING, event

log = logging.getLogger(__name__)

BODY_S = 120.0  # in which a body has to come: it is in memory, and counts for no limit yet
LOADING_S = 10.0  # between comments that keep a connection open while a model loads


class Json(Response):
    """An answer of JSON."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return orjson.dumps(content)


class ClientLeftError(Exception):
    """Nobody waits for the answer any more."""


async def read_body(request: Request) -> bytes:
    """Return a body that comes within BODY_S. Raises ApiError 408."""
    try:
        async with asyncio.timeout(BODY_S):
            return await request.body()
    except TimeoutError:
        raise ApiError(408, "request_timeout", f"the body did not come within {BODY_S:.0f} s") from None


async def answer(endpoint: Endpoint[Any], request: Request) -> Response:
    """Answer a request. Raises ApiError and whatever the endpoint raises."""
    service: Service = request.app.state.service
    tenant: Tenant = request.state.tenant
    if service.draining:
        raise ApiError(503, "shutting_down", "the service is ending", headers=retry_after(5))
    body = parse_body(endpoint, parse_json(await read_body(request)))
    named = endpoint.model_of(body)
    if named is None and not endpoint.model_optional:
        raise ApiError(400, "missing_required_parameter", "model: it is required, and not there", "model")
    served = service.catalog.nobody if named is None else service.catalog.find(named, tenant)
    request.state.model = served.name
    endpoint.check(body, served)
    asked = Asked(request.state.request_id, secrets.randbits(53), int(time.time()))
    headers = _headers(endpoint, body, asked)
    most_s = service.config.gateway.longest_answer_s
    stack = AsyncExitStack()
    try:
        hold = await stack.enter_async_context(
            service.tenants.admit(tenant, served.name, endpoint.reserve(body))
        )
        headers |= service.tenants.headers(tenant)
        if endpoint.wants_stream(body):
            stream = EventStream(
                service, endpoint, served, asked, endpoint.stream(body, served, asked), hold, stack, headers
            )
            await _or_leave(request.receive, stream.begin(), most_s)
            return stream
        answered = await _or_leave(request.receive, endpoint.answer(body, served, asked), most_s)
        hold.settle(answered.usage)
        service.metrics.used(served.name, answered.usage)
    except BaseException:
        await stack.aclose()
        raise
    await stack.aclose()
    headers |= answered.headers
    if isinstance(answered.body, Media):
        return Response(answered.body.data, media_type=answered.body.media_type, headers=headers)
    return Json(answered.body, headers=headers)


def _headers(endpoint: Endpoint[Any], body: Any, asked: Asked) -> dict[str, str]:
    headers = {}
    if ignored := ignored_keys(endpoint, body):
        headers["x-raygen-ignored"] = ignored
    if getattr(body, "seed", None) is None and hasattr(body, "seed"):
        headers["x-raygen-seed"] = str(asked.seed)
    return headers


async def _or_leave(receive: Receive, work: Awaitable[Any], most_s: float) -> Any:
    """Await work, and cancel it when the client leaves. Raises ClientLeftError; ApiError: it takes longer than it may."""
    task = asyncio.ensure_future(work)
    gone = asyncio.create_task(_until_gone(receive))
    try:
        await asyncio.wait({task, gone}, timeout=most_s, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientLeftError if gone.done() else _too_long(most_s)
    finally:
        gone.cancel()
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def _too_long(most_s: float) -> ApiError:
    return ApiError(504, "answer_too_long", f"the answer took longer than {most_s:g} s, and was given up")


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class EventStream(Response):
    """An answer in pieces. One that breaks ends with an error event; when the client leaves, the engine is told at once."""

    media_type = "text/event-stream"

    def __init__(
        self,
        service: Service,
        endpoint: Endpoint[Any],
        served: Served,
        asked: Asked,
        pieces: AsyncIterator[Piece],
        hold: Hold,
        stack: AsyncExitStack,
        headers: Mapping[str, str],
    ) -> None:
        super().__init__(None, headers=dict(headers), media_type=self.media_type)
        del self.headers["content-length"]
        self._service, self._path, self._model = service, endpoint.path, served.name
        self._asked, self._pieces, self._hold, self._stack = asked, pieces, hold, stack
        self._began = time.monotonic()
        self._next: asyncio.Task[Piece] | None = None

    async def begin(self) -> None:
        """Wait for the first piece: what goes wrong before it has a status of its own. Raises what the endpoint raises.

        A model that is still loading does not keep the status waiting: then comments keep the connection open.
        """
        self._next = asyncio.ensure_future(anext(self._pieces))
        try:
            done, _ = await asyncio.wait({self._next}, timeout=LOADING_S)
            if done and self._next.exception() is not None:
                self._next.result()
        except BaseException:
            await self._let_go()
            raise

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        writing = asyncio.create_task(self._write(send))
        gone = asyncio.create_task(_until_gone(receive))
        try:
            await asyncio.wait({writing, gone}, return_when=asyncio.FIRST_COMPLETED)
            if gone.done() and not writing.done():
                writing.cancel()
                self._service.metrics.left(self._path, self._model)
            await asyncio.gather(writing, return_exceptions=True)
        finally:
            gone.cancel()
            writing.cancel()
            await self._end()

    async def _end(self) -> None:
        """Let go of the engine and of what was held."""
        await self._let_go()
        self._service.metrics.used(self._model, self._hold.usage)
        await self._stack.aclose()

    async def _let_go(self) -> None:
        """Tell the engine that nobody waits any more."""
        if self._next is not None and not self._next.done():
            self._next.cancel()
            await asyncio.gather(self._next, return_exceptions=True)
        close: Callable[[], Awaitable[None]] | None = getattr(self._pieces, "aclose", None)
        if close is not None:
            await close()

    async def _write(self, send: Send) -> None:
        last = self._began
        try:
            first = True
            while True:
                piece = await self._piece(send)
                if piece is None:
                    break
                now = time.monotonic()
                note = self._service.metrics.first_piece if first else self._service.metrics.gap
                note(self._path, self._model, now - last)
                first, last = False, now
                self._hold.settle(piece.usage)
                written = event(piece.body) if isinstance(piece.body, dict) else piece.body
                await send({"type": "http.response.body", "body": written, "more_body": True})
            end = DONE
        except (asyncio.CancelledError, OSError):
            raise
        except Exception as error:  # noqa: BLE001 - whatever it was, the client has to hear of it
            log.warning("stream %s broke: %s", self._asked.request_id, type(error).__name__)
            self._service.metrics.broken(self._path, self._model)
            end = event(api_error(error).body(self._asked.request_id))
        await send({"type": "http.response.body", "body": end})

    async def _piece(self, send: Send) -> Piece | None:
        """Return the next piece, None at the end; sends comments while there is none for long."""
        if self._next is None:
            self._next = asyncio.ensure_future(anext(self._pieces))
        while True:
            done, _ = await asyncio.wait({self._next}, timeout=LOADING_S)
            if done:
                break
            await send({"type": "http.response.body", "body": LOADING, "more_body": True})
        found, self._next = self._next, None
        try:
            return found.result()
        except StopAsyncIteration:
            return None
