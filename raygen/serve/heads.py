"""Heads of requests in one process: uvicorn's protocol takes them whole, whatever their size; this one bounds them."""

from __future__ import annotations

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from raygen.wire.errors import ApiError

# The front has the exact bounds. This one only keeps memory flat until it can look: a line of headers is kept until it ends.
MAX_HEAD_BYTES = 256 * 1024


class BoundedHeads(HttpToolsProtocol):
    """Refuses a head that does not end, and what is no HTTP, in the protocol's words."""

    _in_head = True
    _head_bytes = 0

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self._in_head:
            return
        self._head_bytes += len(data)
        if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._refuse(ApiError(431, "headers_too_large", "the headers are too large"))

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._in_head = False

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._in_head, self._head_bytes = True, 0

    def send_400_response(self, msg: str) -> None:
        self._refuse(ApiError(400, "invalid_http", "this is no HTTP request that can be read"))

    def _refuse(self, error: ApiError) -> None:
        body = orjson.dumps(error.body())
        head = f"HTTP/1.1 {error.status} Refused\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
        self.transport.write(head.encode() + b"connection: close\r\n\r\n" + body)
        self.transport.close()
