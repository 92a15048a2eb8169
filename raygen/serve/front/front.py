"""The front: what every request passes before it is read. Pure ASGI, the same in one process and in Serve's proxy."""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Sequence

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from raygen.serve.front.routes import Rule
from raygen.wire.errors import ApiError, api_error

log = logging.getLogger(__name__)

# Clients must not steer Ray Serve: these headers change time-outs, routing, and whether a request that nobody waits for goes on.
HOSTILE = frozenset(
    {
        b"x-request-disconnect-disabled",
        b"x-request-timeout-seconds",
        b"serve_multiplexed_model_id",
        b"x-session-id",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-proto",
        b"x-forwarded-prefix",
        b"forwarded",
    }
)
MAX_HEADER_BYTES = 32 * 1024
MAX_QUERY_BYTES = 4096
MOST_DIGITS = 15  # of a length: Python refuses to read very long numbers
SANE_ID = re.compile(rb"[A-Za-z0-9._-]{1,100}")
# On every answer. What a page of the console may do beyond it is said by the page's own policy.
SECURITY = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)


class Front:
    """Refuses what is not on the list, is too large, or breaks off; names every request; speaks JSON only.

    Args:
        app: what is behind it.
        rules: the closed list of routes.
    """

    def __init__(self, app: ASGIApp, rules: Sequence[Rule]) -> None:
        self._app, self._rules = app, rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return  # no websockets here
        request_id = _request_id(scope)
        answer = _Answer(send, request_id)
        try:
            rule = self.rule_of(scope)
            scope = {**scope, "headers": _clean(scope["headers"], request_id)}
            scope["state"] = {**scope.get("state", {}), "request_id": request_id, "rule": rule}
            body = _Body(receive, rule.max_body_bytes)
            body.check(scope["headers"])
            await self._app(scope, body.receive, answer.send)
            if not answer.begun:
                raise RuntimeError("nothing was answered")
        except Exception as error:  # noqa: BLE001 - no text but the protocol's own may leave
            if not isinstance(error, ApiError):  # others are logged where they are met
                log.warning("request %s failed: %s", request_id, type(error).__name__)
            await answer.refuse(api_error(error))

    def rule_of(self, scope: Scope) -> Rule:
        """Return the rule of a request. Raises ApiError: the path is not served, or not so."""
        raw = scope.get("raw_path") or scope["path"].encode()
        path = raw.split(b"?", 1)[0]
        if len(scope.get("query_string", b"")) > MAX_QUERY_BYTES:
            raise ApiError(414, "uri_too_long", f"the query is longer than {MAX_QUERY_BYTES} bytes")
        if sum(len(name) + len(value) for name, value in scope["headers"]) > MAX_HEADER_BYTES:
            raise ApiError(431, "headers_too_large", f"the headers are larger than {MAX_HEADER_BYTES} bytes")
        text = path.decode("latin-1")
        known = [rule for rule in self._rules if rule.path.fullmatch(text)]
        # What is decoded later must be what was looked at now.
        if not known or scope["path"] != text:
            raise ApiError(404, "not_found", "nothing is served at this path")
        for rule in known:
            if scope["method"] in rule.methods:
                return rule
        allowed = ", ".join(sorted(set().union(*(rule.methods for rule in known))))
        raise ApiError(
            405,
            "method_not_allowed",
            f"this path does not take {scope['method'][:16]}; it takes {allowed}",
            headers={"allow": allowed},
        )


class _Body:
    """A request's body, as far as it may go."""

    def __init__(self, receive: Receive, most: int) -> None:
        self._receive, self._most, self._read = receive, most, 0

    def check(self, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Refuse a body that says that it is too large. Raises ApiError 413."""
        for name, value in headers:
            if name == b"content-length":
                if not value.isdigit():
                    raise ApiError(400, "invalid_header", "content-length: it is to be a number")
                if len(value) > MOST_DIGITS or int(value) > self._most:
                    raise self._too_large()

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._read += len(message.get("body", b""))
            if self._read > self._most:
                raise self._too_large()
        return message

    def _too_large(self) -> ApiError:
        return ApiError(413, "body_too_large", f"the body is larger than {self._most:,} bytes")


class _Answer:
    """An answer on its way: with its name and the headers that all have."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send, self._id, self.begun, self._ended = send, request_id, False, False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.begun = True
            # Behind a proxy it stands twice: what the inner one wrote is not written again.
            theirs = [pair for pair in message.get("headers", ()) if pair[0] != b"x-request-id"]
            mine = {name for name, _ in theirs}
            more = [pair for pair in SECURITY if pair[0] not in mine]
            headers = [*theirs, *more, (b"x-request-id", self._id.encode())]
            message = {**message, "headers": [pair for pair in headers if pair[0] != b"server"]}
        elif message["type"] == "http.response.body":
            self._ended = not message.get("more_body", False)
        await self._send(message)

    async def refuse(self, error: ApiError) -> None:
        """Send a refusal; an answer that is under way is broken off, which clients see."""
        if self.begun:
            if not self._ended:
                raise ConnectionAbortedError("an answer broke off")
            return
        body = orjson.dumps(error.body(self._id))
        headers = [(name.encode(), value.encode()) for name, value in error.headers.items()]
        headers += [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        if error.status in (413, 414, 431):
            headers.append((b"connection", b"close"))  # what is left of the body is not read
        await self.send({"type": "http.response.start", "status": error.status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})


def _request_id(scope: Scope) -> str:
    """Return the client's own name of a request if it is a sane one, else a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and SANE_ID.fullmatch(value):
            return str(value.decode())
    return secrets.token_hex(12)


def _clean(headers: Sequence[tuple[bytes, bytes]], request_id: str) -> list[tuple[bytes, bytes]]:
    kept = [pair for pair in headers if pair[0] not in HOSTILE and pair[0] != b"x-request-id"]
    return [*kept, (b"x-request-id", request_id.encode())]
