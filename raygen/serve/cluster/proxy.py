"""Proxy: what stands inside Serve's HTTP proxy, in front of everything that Serve itself does with a request."""

from __future__ import annotations

import os
import re

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from raygen.serve.config import Batches
from raygen.serve.front.front import Front
from raygen.serve.front.routes import Rule, rules
from raygen.wire.errors import ApiError, retry_after
from raygen.wire.sse import event

# The largest file that the proxy lets in: it knows no configuration.
MAX_FILE = "RAYGEN_MAX_FILE_BYTES"

# Serve's own route, where probes of Kubernetes ask whether this proxy lives.
PROBE = Rule(re.compile("/-/healthz"), frozenset({"GET", "HEAD"}), None)

# What Serve says in plain text, by status.
SAID = {
    404: ("not_found", 404, "nothing is served at this path"),
    408: ("timeout", 503, "the answer took longer than the service allows"),
}
LOST = ("gateway_lost", 503, "the service could not answer now: ask again")


def middlewares() -> list[Middleware]:
    """Return the middlewares of Serve's proxy, the outermost last. Serve calls it by name: see environment.py."""
    return [Middleware(Spoken), Middleware(Front, rules=[*rules(max_file_bytes()), PROBE])]


def max_file_bytes() -> int:
    """Return how large a file the proxies of this node let in."""
    return int(os.environ.get(MAX_FILE) or Batches().max_file_bytes)


class Spoken:
    """Puts what Serve says by itself into the protocol's words.

    Its refusals and the death of a gateway come as plain text, and a stream whose gateway dies just ends: clients would take
    that for a whole answer.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] == "/-/healthz":
            await self._app(scope, receive, send)
            return
        answer = _Answer(send, scope["state"]["request_id"])
        fault: ApiError | None = None

        async def received() -> Message:
            # Serve reads a body beside its call: what is raised here, nobody there would see.
            nonlocal fault
            try:
                return await receive()
            except ApiError as error:
                fault, answer.mute = error, True
                return {"type": "http.disconnect"}

        try:
            await self._app(scope, received, answer.send)
        finally:
            if fault is not None:
                raise fault
            await answer.end()


class _Answer:
    def __init__(self, send: Send, request_id: str) -> None:
        self._send, self._id = send, request_id
        self.mute = False  # a refusal of the front's comes instead
        self._refusal: ApiError | None = None
        self._stream = self._over = self._ended = False

    async def send(self, message: Message) -> None:
        if self.mute:
            return
        if message["type"] == "http.response.start":
            kind = dict(message["headers"]).get(b"content-type", b"")
            if message["status"] >= 400 and not kind.startswith(b"application/json"):
                code, status, told = SAID.get(message["status"], LOST)
                self._refusal = ApiError(status, code, told, headers=retry_after(1))
            self._stream = kind.startswith(b"text/event-stream")
        elif message["type"] == "http.response.body":
            self._ended = not message.get("more_body", False)
            body = message.get("body", b"")
            self._over = self._over or b"data: [DONE]" in body or b'data: {"error"' in body
            if self._ended and self._stream and not self._over:
                message = {**message, "body": body + self._broken()}
        if self._refusal is None:
            await self._send(message)

    async def end(self) -> None:
        """Send what is missing: the refusal in the protocol's words, or how a stream ended."""
        if self.mute:
            return
        if self._refusal is not None:
            raise self._refusal
        if self._stream and not self._ended:
            self._ended = True
            await self._send({"type": "http.response.body", "body": self._broken()})

    def _broken(self) -> bytes:
        self._over = True
        return event(lost().body(self._id))


def lost() -> ApiError:
    """Return what a client is told whose gateway died."""
    code, status, told = LOST
    return ApiError(status, code, told, headers=retry_after(1))
