"""Heads of requests in one process: uvicorn's protocol takes them whole, whatever their size; this one bounds them."""

from __future__ import annotations

import secrets

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from raygen.wire.errors import ApiError

# The front has the exact bounds. This one only keeps memory flat until it can look: a line of headers is kept until it ends.
MAX_HEAD_BYTES = 256 * 1024


class BoundedHeads(HttpToolsProtocol):
    """Refuses a head, and what may follow a body in chunks, that does not end, and what is no HTTP, in the protocol's words."""

    _head_bytes = 0  # that came since something was whole: the head, or a piece of the body

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._head_bytes += len(data)
        if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._refuse(ApiError(431, "headers_too_large", "the headers are too large"))

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_bytes = 0

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._head_bytes = 0

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        self._head_bytes = 0

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._head_bytes = 0

    def send_400_response(self, msg: str) -> None:
        self._refuse(ApiError(400, "invalid_http", "this is no HTTP request that can be read"))

    def _refuse(self, error: ApiError) -> None:
        name = secrets.token_hex(12)
        body = orjson.dumps(error.body(name))
        head = (
            f"HTTP/1.1 {error.status} Refused\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
            f"x-request-id: {name}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()
