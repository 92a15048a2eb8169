"""Traces: a span for each request, in its caller's trace, without anything that was said."""

from __future__ import annotations

import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import pytest

from raygen.errors import ConfigError
from raygen.serve.config import ServiceConfig
from raygen.serve.traces import Traces
from tests.fakes.batch_service import running

trace_service = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
CALLER = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
def collector():
    """A collector: its address, and what it was sent."""
    sent = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            sent.append((self.headers, self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *words):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1/traces", sent
    server.shutdown()
    server.server_close()


def config_of(tmp_path, endpoint):
    models = {"echo": {"family": "causal_lm", "engine": "echo"}}
    return ServiceConfig.model_validate(
        {"store": str(tmp_path), "models": models, "telemetry": {"endpoint": endpoint}}
    )


def test_a_request_is_a_span_in_its_callers_trace(tmp_path, collector):
    endpoint, sent = collector
    body = {"model": "echo", "messages": [{"role": "user", "content": "canary"}]}
    with running(config_of(tmp_path, endpoint), work=False) as service:
        httpx.post(
            f"{service.url}/v1/chat/completions",
            json=body,
            headers={"traceparent": f"00-{CALLER}-b7ad6b7169203331-01"},
        )
    told = trace_service.ExportTraceServiceRequest.FromString(sent[0][1])
    (span,) = (each for each in told.resource_spans[0].scope_spans[0].spans)
    assert span.trace_id.hex() == CALLER
    facts = {each.key: each.value for each in span.attributes}
    assert facts["gen_ai.request.model"].string_value == "echo"
    assert facts["http.response.status_code"].int_value == 200
    assert span.name == "/v1/chat/completions"
    assert b"canary" not in sent[0][1]


def test_traces_without_the_package_are_refused_before_anything_starts(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(ConfigError, match=r"raygen\[telemetry\]"):
        Traces(config_of(tmp_path, "http://127.0.0.1:1"))
