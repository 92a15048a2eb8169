"""FaultS3: a small S3 on loopback that fails as told. test_storage.py holds it against moto.

    with FaultS3(faults=Faults(seed=1, error_503=0.05)) as s3:
        s3.script("PUT", "commits/", ["lost_answer", None, "error_403"])  # of the next three such requests
        store = S3Store("s3://bucket/prefix", StorageOptions(endpoint_url=s3.endpoint_url))

Faults, by name:
    error_<status>      answer so, before doing anything (`error_503`, `error_403`, `error_501`, ...)
    drop                close the connection before doing anything
    lost_answer         do it, then close the connection
    conflict_409        answer 409 to a conditional PUT, before doing anything
    truncate            send half of the body of a GET, then close the connection
    bit_flip            change one bit: of a PUT in what is stored, of a GET in what is sent
"""

from __future__ import annotations

import io
import random
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, BinaryIO
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.fakes.memory_s3 import Answer, MemoryS3, error_answer, flipped

CODES = {
    403: "AccessDenied",
    409: "ConditionalRequestConflict",
    500: "InternalError",
    501: "NotImplemented",
    503: "ServiceUnavailable",  # not SlowDown, for which boto3 waits 20 times as long
}
# Which requests chance may give a fault; those not named here befall all.
BEFALLS = {
    "lost_answer": {"PUT object", "PUT object once", "DELETE object"},
    "conflict_409": {"PUT object once"},
    "truncate": {"GET object"},
    "bit_flip": {"GET object", "PUT object", "PUT object once"},
}


@dataclass(frozen=True)
class Faults:
    """How often each fault is given, by chance: 0 to 1 of the requests it can befall; same seed, same faults.

    The chance is drawn from the seed, the request's method and key, and how many such requests there were, so
    it does not depend on how threads take turns.
    """

    seed: int = 0
    error_503: float = 0.0
    lost_answer: float = 0.0
    conflict_409: float = 0.0
    truncate: float = 0.0
    bit_flip: float = 0.0
    latency_s: float = 0.0  # before every request is looked at

    def draw(self, method: str, key: str, count: int, kind: str) -> str | None:
        luck = random.Random(f"{self.seed}|{method}|{key}|{count}")
        for name in ("error_503", "lost_answer", "conflict_409", "truncate", "bit_flip"):
            hit = luck.random() < getattr(self, name)
            if hit and kind in BEFALLS.get(name, {kind}):
                return name
        return None


class FaultS3:
    """The server. `requests` counts requests by method, `given` the faults by name, as they are given.

    Args:
        faults: those given by chance; may be replaced while it runs.
        buckets: made at the start.
        page_size: most objects in one page of a listing.
        ignore_if_none_match: act as a store without conditional writes does.
    """

    def __init__(
        self,
        faults: Faults | None = None,
        buckets: Iterable[str] = ("bucket",),
        page_size: int = 1000,
        ignore_if_none_match: bool = False,
    ) -> None:
        self.faults = faults or Faults()
        self.memory = MemoryS3(buckets, page_size, ignore_if_none_match)
        self.requests: Counter[str] = Counter()
        self.given: Counter[str] = Counter()
        self._seen: Counter[tuple[str, str]] = Counter()
        self._scripts: list[tuple[str, str, deque[str | None]]] = []
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()

    def __enter__(self) -> FaultS3:
        handler = type("Handler", (_Handler,), {"s3": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        with self._lock:
            for connection in self._connections:
                _hang_up(connection)

    @property
    def endpoint_url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def script(self, method: str, key_part: str, faults: Sequence[str | None]) -> None:
        """Give these faults to the next requests of that method with `key_part` in their key (or prefix).

        None lets a request pass. While a script lasts, chance leaves its requests alone.
        """
        with self._lock:
            self._scripts.append((method, key_part, deque(faults)))

    def forget(self) -> None:
        """Drop what is left of the scripts, and the count of the faults that were given."""
        with self._lock:
            self._scripts.clear()
            self.given.clear()

    def objects(self, bucket: str = "bucket") -> dict[str, bytes]:
        """Return what is stored, by key."""
        return self.memory.objects(bucket)

    def next_fault(self, method: str, key: str, kind: str) -> str | None:
        with self._lock:
            self.requests[method] += 1
            self._seen[method, key] += 1
            for wanted, part, faults in self._scripts:
                if faults and wanted == method and part in key:
                    fault = faults.popleft()
                    break
            else:
                fault = self.faults.draw(method, key, self._seen[method, key], kind)
            return fault

    def count(self, fault: str) -> None:
        with self._lock:
            self.given[fault] += 1

    def remember(self, connection: socket.socket, open_: bool) -> None:
        with self._lock:
            (self._connections.add if open_ else self._connections.discard)(connection)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512  # the default of 5 refuses what 64 racing writers bring


class _Handler(BaseHTTPRequestHandler):
    s3: FaultS3
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self.s3.remember(self.connection, True)

    def finish(self) -> None:
        self.s3.remember(self.connection, False)
        super().finish()

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:
            pass  # the client, or a fault, closed the connection

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _serve(self) -> None:
        body = self._body()
        url = urlsplit(self.path)
        bucket, _, key = unquote(url.path).removeprefix("/").partition("/")
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        headers = {name.lower(): value for name, value in self.headers.items()}
        method = self.command
        time.sleep(self.s3.faults.latency_s)
        kind = f"{method} {'object' if key else 'bucket'}{' once' if 'if-none-match' in headers else ''}"
        fault = self.s3.next_fault(method, key or query.get("prefix", ""), kind)
        if fault is None or fault in ("lost_answer", "truncate", "bit_flip"):
            self._serve_healthy(fault, bucket, key, query, headers, body)
            return
        self.s3.count(fault)
        if fault == "drop":
            self._hang_up()
        else:
            status = int(fault.rpartition("_")[2])
            self._send(error_answer(status, CODES.get(status, "Fault")))

    def _serve_healthy(
        self,
        fault: str | None,
        bucket: str,
        key: str,
        query: dict[str, str],
        headers: dict[str, str],
        body: bytes,
    ) -> None:
        """Do what was asked for, then give the fault if there is something to give it to."""
        method = self.command
        flip = fault == "bit_flip"
        done = self.s3.memory.answer(method, bucket, key, query, headers, body, flip and method == "PUT")
        if method == "GET":
            hurts = done.status in (200, 206) and bool(done.body)
        else:
            hurts = fault == "lost_answer" or (flip and done.status == 200 and bool(body))
        if fault and hurts:
            self.s3.count(fault)
        if fault == "lost_answer":
            self._hang_up()
        elif hurts and flip and method == "GET":
            self._send(Answer(done.status, flipped(done.body, key), done.headers))
        else:
            self._send(done, truncated=hurts and fault == "truncate")

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _serve

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            body, _ = _unchunked(self.rfile)
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if "aws-chunked" in self.headers.get("Content-Encoding", ""):
            body, trailers = _unchunked(io.BytesIO(body))
            for name, value in trailers.items():
                self.headers[name] = value
        return body

    def _send(self, answer: Answer, truncated: bool = False) -> None:
        lines = [f"HTTP/1.1 {answer.status} {self.responses.get(answer.status, ('',))[0]}"]
        body = b"" if self.command == "HEAD" or answer.status == 204 else answer.body
        headers = {"Date": formatdate(usegmt=True), "Server": "FaultS3"} | (answer.headers or {})
        if answer.status != 204:
            headers["Content-Length"] = str(len(answer.body))
        lines += [f"{name}: {value}" for name, value in headers.items()]
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        self.wfile.write(head + (body[: len(body) // 2] if truncated else body))
        if truncated:
            self._hang_up()

    def _hang_up(self) -> None:
        self.close_connection = True
        _hang_up(self.connection)


def _unchunked(stream: BinaryIO) -> tuple[bytes, dict[str, str]]:
    """Decode a chunked body and its trailers: HTTP's own, or S3's with signatures and checksums in it."""
    parts: list[bytes] = []
    while size := int(stream.readline().split(b";")[0], 16):
        parts.append(stream.read(size))
        stream.readline()
    trailers = {}
    while (line := stream.readline().strip()) != b"":
        name, _, value = line.decode("latin-1").partition(":")
        trailers[name.strip().lower()] = value.strip()
    return b"".join(parts), trailers


def _hang_up(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # the other side was faster
