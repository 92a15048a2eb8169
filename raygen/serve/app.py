"""The ASGI application: routes over a service. Before them stands front/, behind them answering.py."""

from __future__ import annotations

import logging
import time
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import State
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from raygen.serve.answering import ClientLeftError, Json, answer, read_body
from raygen.serve.batches.routes import batch_routes
from raygen.serve.console.data import data_routes
from raygen.serve.console.pages import page_routes
from raygen.serve.description import AdapterBody, described_service
from raygen.serve.front.front import Front
from raygen.serve.front.routes import Rule, rules
from raygen.serve.service import Service
from raygen.wire import ENDPOINTS, endpoint_at
from raygen.wire.base import Endpoint
from raygen.wire.errors import ApiError, api_error
from raygen.wire.models import model_list, model_object
from raygen.wire.parse import parse_as, parse_json

log = logging.getLogger(__name__)

# What who asks for the address alone is told, if it is no browser: where to go on. The same of every service.
PLACES = {"console": "/console", "models": "/v1/models", "openapi": "/openapi.json", "health": "/health"}
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


def make_app(service: Service) -> ASGIApp:
    """Return the application over a service, with its front."""
    endpoints = [endpoint_at(path, service.config.gateway.image_hosts) for path in ENDPOINTS.own]
    routes = [
        Route("/", _root),
        Route("/health", _ready),
        Route("/health/ready", _ready),
        Route("/health/live", _live),
        Route("/metrics", _metrics),
        Route("/openapi.json", _openapi),
        Route("/v1/adapters", _adapters, methods=["GET", "POST"]),
        Route("/v1/adapters/{name}", _adapter, methods=["DELETE"]),
        *page_routes(),
        *data_routes(),
        Route("/v1/models", _models),
        Route("/v1/models/{name}", _model),
        *(Route(each.path, _answering(each), methods=["POST"]) for each in endpoints),
        *batch_routes(),
    ]
    # A router alone: whatever goes wrong in it comes up to the guard, and nothing answers with a text of its own.
    return Front(Guard(Router(routes), service), rules(service.config.batches.max_file_bytes))


class Guard:
    """Behind the front: who asks, and whether a web page of somebody else's does. Its errors are the protocol's."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._service = app, service
        self.state = State({"service": service})  # where handlers find it: `request.app.state.service`
        self._hosts = LOOPBACK | set(service.config.gateway.hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope["app"] = self
        request = Request(scope)
        metrics, began, status = self._service.metrics, time.monotonic(), 500
        metrics.in_flight += 1

        async def note(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                spent = f"{1000 * (time.monotonic() - began):.0f}".encode()
                message = {
                    **message,
                    "headers": [*message["headers"], (b"openai-processing-ms", spent)],
                }
            await send(message)

        try:
            self._check_host(request)
            rule: Rule = request.state.rule
            if rule.scope is not None:
                tenant = await self._service.tenants.identify(request.headers.get("authorization"))
                tenant.require(rule.scope)
                request.state.tenant = tenant
            await self._app(scope, receive, note)
        except (ClientLeftError, ClientDisconnect):
            status = 499
            metrics.left(scope["path"], scope["state"].get("model", "-"))
            raise ApiError(499, "client_left", "the client left") from None
        except Exception as error:
            found = _no_route(error) if isinstance(error, HTTPException) else api_error(error)
            status = found.status
            if found.status >= 500:
                log.warning(
                    "request %s failed: %s (%s)", request.state.request_id, found.code, type(error).__name__
                )
            raise found from error
        finally:
            metrics.in_flight -= 1
            path = (
                scope["path"] if scope["path"] in ENDPOINTS.own else scope["path"].split("/")[1:3][-1] or "/"
            )
            model, spent_s = scope["state"].get("model", "-"), time.monotonic() - began
            metrics.answered(path, model, status, spent_s)
            if self._service.traces is not None:
                facts = {
                    "http.route": path,
                    "http.response.status_code": status,
                    "gen_ai.request.model": model,
                }
                self._service.traces.note(
                    request.headers, spent_s, {**facts, "raygen.request_id": request.state.request_id}
                )

    def _check_host(self, request: Request) -> None:
        """Refuse pages of other sites: without keys a browser's user would ask for them. Raises ApiError 403."""
        if self._service.tenants.required:
            return
        try:
            host = urlsplit(f"//{request.headers.get('host', '')}").hostname
        except ValueError:  # a bracket without its other one, or no address in them
            host = None
        if host not in self._hosts:
            raise ApiError(
                403, "host_not_allowed", "the Host header names no host of this service: see gateway.hosts"
            )
        origin = request.headers.get("origin")
        try:
            same = origin is None or urlsplit(origin).netloc == request.headers.get("host")
        except ValueError:
            same = False
        if not same:
            raise ApiError(403, "origin_not_allowed", "pages of other sites may not ask this service")


def _no_route(error: HTTPException) -> ApiError:
    return ApiError(error.status_code, "not_found", "nothing is served at this path")


def _answering(endpoint: Endpoint[Any]) -> Any:
    async def answering(request: Request) -> Response:
        return await answer(endpoint, request)

    return answering


def _service(request: Request) -> Service:
    found: Service = request.app.state.service
    return found


async def _root(request: Request) -> Response:
    """Show a browser the console; tell programs where things are."""
    headers = {"vary": "accept"}
    if "text/html" in request.headers.get("accept", "").lower():
        return RedirectResponse(PLACES["console"], headers=headers)
    return Json(PLACES, headers=headers)


async def _live(request: Request) -> Response:
    return Json({"status": "ok"})


async def _ready(request: Request) -> Response:
    service = _service(request)
    states = {name: (await link.figures()).state for name, link in service.catalog.links.items()}
    ready = not service.draining and all(state in ("ready", "cold") for state in states.values())
    told = {"status": "ok" if ready else "loading", "models": states}
    return Json(told, status_code=200 if ready else 503)


async def _metrics(request: Request) -> Response:
    service = _service(request)
    figures = {name: await link.figures() for name, link in service.catalog.links.items()}
    return PlainTextResponse(service.metrics.text(figures), media_type="text/plain; version=0.0.4")


async def _models(request: Request) -> Response:
    return Json(model_list(_service(request).catalog.listed(request.state.tenant)))


async def _model(request: Request) -> Response:
    served = _service(request).catalog.find(request.path_params["name"], request.state.tenant)
    return Json(model_object(served))


async def _adapters(request: Request) -> Response:
    adapters = _service(request).adapters
    if request.method == "POST":
        body = parse_as(AdapterBody, parse_json(await read_body(request)))
        await adapters.load(body.model, body.name, body.ref)
    return Json({"object": "list", "data": adapters.listed()})


async def _adapter(request: Request) -> Response:
    model, _, name = request.path_params["name"].partition(":")
    await _service(request).adapters.drop(model, name)
    return Json({"id": f"{model}:{name}", "object": "adapter", "deleted": True})


async def _openapi(request: Request) -> Response:
    return Json(described_service())
