"""Heads of requests: without end, or none at all."""

from __future__ import annotations

import json
import socket
from contextlib import suppress

import psutil
import pytest

from raygen.serve.config import ServiceConfig
from raygen.serve.heads import MAX_HEAD_BYTES
from tests.fakes.batch_service import running

MB = 2**20


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    models = {"echo": {"family": "causal_lm", "engine": "echo"}}
    config = {"store": str(tmp_path_factory.mktemp("store")), "models": models}
    with running(ServiceConfig.model_validate(config), work=False) as found:
        yield found


@pytest.fixture
def connection(service):
    host, _, port = service.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as found:
        yield found


def read(connection):
    """Return status and body."""
    got = connection.recv(65536)
    while not got.endswith(b"}"):
        got += connection.recv(65536)
    head, _, body = got.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["error"]


def test_a_head_without_end_is_cut_off_and_memory_stays_flat(connection):
    before = psutil.Process().memory_info().rss
    connection.sendall(b"GET /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Long: ")
    sent = 0
    with suppress(OSError):  # reset, or a broken pipe
        while sent < 300 * MB:
            sent += connection.send(b"a" * 65536)
    assert sent < 16 * MB  # what the sockets between hold
    assert psutil.Process().memory_info().rss - before < 32 * MB


def test_a_head_that_is_too_large_is_told_so(connection):
    connection.sendall(b"GET /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Long: " + b"a" * MAX_HEAD_BYTES)
    status, error = read(connection)
    assert (status, error["code"]) == (431, "headers_too_large")


def test_what_is_no_http_is_refused_in_the_protocols_words(connection):
    connection.sendall(b"HELO there\r\n\r\n")
    status, error = read(connection)
    assert (status, error["code"]) == (400, "invalid_http")
    assert error["request_id"]


def test_a_large_body_counts_for_no_head(connection):
    body = json.dumps({"model": "no", "messages": [], "user": "x" * (2 * MAX_HEAD_BYTES)}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n"
    for _ in range(2):  # over one connection
        connection.sendall(head.encode() + body)
        assert read(connection)[0] in (400, 404)


def test_what_follows_a_body_in_chunks_has_an_end_too(connection):
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    connection.sendall(head + b"2\r\n{}\r\n0\r\nx: ")
    sent = 0
    with suppress(OSError):  # reset, or a broken pipe
        while sent < 100 * MB:
            sent += connection.send(b"a" * 65536)
    assert sent < 16 * MB


def test_a_body_that_does_not_come_is_not_waited_for_long(connection, monkeypatch):
    monkeypatch.setattr("raygen.serve.answering.BODY_S", 0.3)
    connection.sendall(
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\n{"
    )
    status, error = read(connection)
    assert (status, error["code"]) == (408, "request_timeout")
