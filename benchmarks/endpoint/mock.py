"""A lean loopback OpenAI-compatible endpoint: `python -m benchmarks.endpoint.mock --port 8000`.

It answers POST /v1/chat/completions after a fixed latency, with faults on request; GET /stats: its counters.
The text of a sample is derived from prompt and seed, so that a client's rows can be checked.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import orjson

REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    429: "Too Many Requests",
    500: "Internal Server Error",
}
Reply = tuple[int, dict[str, str], bytes]  # status (0: none ever comes), further headers, body


@dataclass(frozen=True)
class MockOptions:
    latency_s: float = 0.37
    tokens: int = 16  # output tokens of each choice
    refuse_above: int = 0  # more requests than this at once get 429; 0: never
    retry_after: str = "1"  # the Retry-After of a 429
    error_rate: float = 0.0  # of the prompts, chosen by their hash: HTTP 400
    fail_5xx_rate: float = 0.0  # of the requests, chosen by their number: HTTP 500
    malformed_rate: float = 0.0  # of the requests, chosen by their number: HTTP 200 and half a body


@dataclass
class Counters:
    requests: int = 0
    answered: int = 0
    refused: int = 0
    errors_400: int = 0
    errors_5xx: int = 0
    malformed: int = 0
    in_flight: int = 0
    max_in_flight: int = 0


def share(text: str) -> float:
    """Return a number in [0, 1) that depends on the text alone."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest(), "big") / 2**56


def prompt_of(body: dict[str, Any]) -> str:
    return "\n".join(str(message["content"]) for message in body["messages"])


def mock_text(prompt: str, seed: int | None, index: int) -> str:
    return hashlib.blake2b(f"{prompt}\x00{seed}\x00{index}".encode(), digest_size=16).hexdigest()


class MockEndpoint:
    """The server, as a context manager: `async with MockEndpoint(MockOptions()) as mock: mock.url`.

    Args:
        options: how it behaves.
        port: on 127.0.0.1; 0 takes a free one.
        respond: sees each request's body and head first; returns a reply of its own, or None: the usual one.
    """

    def __init__(
        self,
        options: MockOptions,
        port: int = 0,
        respond: Callable[[dict[str, Any], bytes], Reply | None] | None = None,
    ) -> None:
        self.options = options
        self.respond = respond
        self.counters = Counters()
        self.connections: set[asyncio.Transport] = set()
        self._port = port
        self.closed = False

    async def __aenter__(self) -> MockEndpoint:
        self.loop = asyncio.get_running_loop()
        self._server = await self.loop.create_server(
            lambda: _Connection(self), "127.0.0.1", self._port, backlog=4096
        )
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.closed = True
        self._server.close()
        for transport in list(self.connections):
            transport.abort()
        await self._server.wait_closed()

    def handle(self, head: bytes, raw: bytes, send: Callable[[Reply], None]) -> None:
        """Answer one request, at once or after the latency."""
        if head.startswith(b"GET /stats"):
            send((200, {}, orjson.dumps(asdict(self.counters))))
            return
        if not head.startswith(b"POST /v1/chat/completions"):
            send((404, {}, _error(404, "no such path")))
            return
        counters, options = self.counters, self.options
        counters.requests += 1
        body = orjson.loads(raw)
        if self.respond is not None and (reply := self.respond(body, head)) is not None:
            if reply[0]:
                send(reply)
            return
        if options.refuse_above and counters.in_flight >= options.refuse_above:
            counters.refused += 1
            send((429, {"Retry-After": options.retry_after}, _error(429, "too many requests in flight")))
            return
        reply = self._reply(body, counters.requests)
        counters.in_flight += 1
        counters.max_in_flight = max(counters.max_in_flight, counters.in_flight)
        self.loop.call_later(options.latency_s, self._finish, send, reply)

    def _finish(self, send: Callable[[Reply], None], reply: Reply) -> None:
        self.counters.in_flight -= 1
        send(reply)

    def _reply(self, body: dict[str, Any], number: int) -> Reply:
        counters, options = self.counters, self.options
        prompt = prompt_of(body)
        if options.error_rate and share(prompt) < options.error_rate:
            counters.errors_400 += 1
            return 400, {}, _error(400, "this prompt is refused")
        if options.fail_5xx_rate and share(f"5xx {number}") < options.fail_5xx_rate:
            counters.errors_5xx += 1
            return 500, {}, _error(500, "internal error")
        answer = self._answer(body, prompt)
        if options.malformed_rate and share(f"malformed {number}") < options.malformed_rate:
            counters.malformed += 1
            return 200, {}, answer[: len(answer) // 2]
        counters.answered += 1
        return 200, {}, answer

    def _answer(self, body: dict[str, Any], prompt: str) -> bytes:
        count, seed = body.get("n", 1), body.get("seed")
        choices = [
            {
                "index": index,
                "message": {"role": "assistant", "content": mock_text(prompt, seed, index)},
                "finish_reason": "stop",
            }
            for index in range(count)
        ]
        usage = {"prompt_tokens": prompt.count(" ") + 1, "completion_tokens": self.options.tokens * count}
        return orjson.dumps(
            {
                "id": "mock",
                "object": "chat.completion",
                "model": body["model"],
                "choices": choices,
                "usage": usage,
            }
        )


def _error(status: int, message: str) -> bytes:
    return orjson.dumps({"error": {"message": message, "type": "mock_error", "code": status}})


class _Connection(asyncio.Protocol):
    """HTTP/1.1 with keep-alive and Content-Length; one request at a time: no pipelining."""

    def __init__(self, endpoint: MockEndpoint) -> None:
        self._endpoint = endpoint
        self._buffer = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._endpoint.connections.add(transport)
        if self._endpoint.closed:  # accepted just before
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._endpoint.connections.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self._buffer[:end])
        lower = head.lower()
        at = lower.find(b"\r\ncontent-length:")
        length = int(lower[at + 17 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(self._buffer) < end + 4 + length:
            return
        raw = bytes(self._buffer[end + 4 : end + 4 + length])
        del self._buffer[: end + 4 + length]
        self._endpoint.handle(head, raw, self._send)

    def _send(self, reply: Reply) -> None:
        status, headers, body = reply
        extra = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        reason = REASONS.get(status, "Mock")
        extra += f"Content-Length: {len(body)}\r\n"
        head = f"HTTP/1.1 {status} {reason}\r\nContent-Type: application/json\r\n{extra}\r\n"
        if not self._transport.is_closing():
            self._transport.write(head.encode("latin-1") + body)


async def serve(options: MockOptions, port: int) -> None:
    async with MockEndpoint(options, port) as mock:
        print(mock.url, flush=True)
        await asyncio.Event().wait()


def main() -> None:
    defaults = MockOptions()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, default=0, help="0: a free one; the URL is printed")
    parser.add_argument("--latency-s", type=float, default=defaults.latency_s)
    parser.add_argument("--tokens", type=int, default=defaults.tokens, help="output tokens of each choice")
    parser.add_argument(
        "--refuse-above", type=int, default=0, metavar="N", help="429 above N in flight; 0: never"
    )
    parser.add_argument("--retry-after", default=defaults.retry_after, help="the Retry-After of a 429")
    parser.add_argument("--error-rate", type=float, default=0.0, help="HTTP 400, chosen by the prompt's hash")
    parser.add_argument(
        "--fail-5xx-rate", type=float, default=0.0, help="HTTP 500, chosen by the request's number"
    )
    parser.add_argument(
        "--malformed-rate", type=float, default=0.0, help="half a body, by the request's number"
    )
    given = vars(parser.parse_args())
    port = given.pop("port")
    try:
        asyncio.run(serve(MockOptions(**given), port))
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
