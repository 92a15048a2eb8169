"""Traces: one span for each request, to an OpenTelemetry collector. What people say is in none of them."""

from __future__ import annotations

import time
from collections.abc import Mapping

from raygen.errors import ConfigError
from raygen.serve.config import ServiceConfig


class Traces:
    """Tells a collector of requests; it never waits for one.

    Args:
        config: with `telemetry.endpoint`.

    Raises:
        ConfigError: OpenTelemetry is not installed.
    """

    def __init__(self, config: ServiceConfig) -> None:
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
        except ImportError:
            raise ConfigError(
                "telemetry.endpoint: traces need OpenTelemetry: pip install 'raygen[telemetry]'"
            ) from None
        self._parents = TraceContextTextMapPropagator()
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(config.telemetry.sample)),
            resource=Resource.create({"service.name": config.name}),
        )
        exporter = OTLPSpanExporter(endpoint=config.telemetry.endpoint)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("raygen.serve")

    def note(self, headers: Mapping[str, str], seconds: float, facts: Mapping[str, str | int]) -> None:
        """Note a request that has just ended.

        Args:
            headers: its own; `traceparent` puts it into its caller's trace.
            seconds: how long it took. facts: attributes; `http.route` names the span.
        """
        end_ns = time.time_ns()
        span = self._tracer.start_span(
            str(facts["http.route"]),
            context=self._parents.extract(dict(headers)),
            start_time=end_ns - int(seconds * 1e9),
            attributes=dict(facts),
        )
        span.end(end_ns)

    def close(self) -> None:
        """Send what is left. Blocks for some seconds at most."""
        self._provider.force_flush(3000)
        self._provider.shutdown()
