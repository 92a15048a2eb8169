"""Metrics of a gateway, as Prometheus reads them. Names and label values are raygen's own: no text of anybody's is in them."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping

from raygen.serve.models.link import Figures
from raygen.usage import Usage

BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
Labels = tuple[tuple[str, str], ...]


class Metrics:
    """Counters and histograms since the start. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counters: dict[str, dict[Labels, float]] = defaultdict(lambda: defaultdict(float))
        self._histograms: dict[str, dict[Labels, list[float]]] = defaultdict(dict)
        self.in_flight = 0

    def answered(self, endpoint: str, model: str, status: int, seconds: float) -> None:
        """Count a request and how long it took."""
        self._count("raygen_requests_total", 1, endpoint=endpoint, model=model, status=str(status))
        self._observe("raygen_request_seconds", seconds, endpoint=endpoint, model=model)

    def first_piece(self, endpoint: str, model: str, seconds: float) -> None:
        """Note when the first piece of a stream was there."""
        self._observe("raygen_first_piece_seconds", seconds, endpoint=endpoint, model=model)

    def gap(self, endpoint: str, model: str, seconds: float) -> None:
        """Note the time between two pieces of a stream."""
        self._observe("raygen_piece_gap_seconds", seconds, endpoint=endpoint, model=model)

    def used(self, model: str, usage: Usage) -> None:
        """Count what was used."""
        for unit, amount in usage.items():
            self._count("raygen_usage_total", amount, model=model, unit=unit)

    def broken(self, endpoint: str, model: str) -> None:
        """Count a stream that ended with an error."""
        self._count("raygen_streams_broken_total", 1, endpoint=endpoint, model=model)

    def left(self, endpoint: str, model: str) -> None:
        """Count a client that left before its answer was whole."""
        self._count("raygen_clients_left_total", 1, endpoint=endpoint, model=model)

    def text(self, models: Mapping[str, Figures]) -> str:
        """Return all in Prometheus' text format, with gauges of the models as they stand."""
        return "\n".join(self._lines(models)) + "\n"

    def _lines(self, models: Mapping[str, Figures]) -> Iterator[str]:
        with self._lock:
            counters = {name: dict(values) for name, values in self._counters.items()}
            histograms = {
                name: {labels: list(found) for labels, found in values.items()}
                for name, values in self._histograms.items()
            }
        for name, values in sorted(counters.items()):
            yield f"# TYPE {name} counter"
            for labels, value in sorted(values.items()):
                yield f"{name}{_told(labels)} {value:.15g}"
        for name, series in sorted(histograms.items()):
            yield f"# TYPE {name} histogram"
            for labels, found in sorted(series.items()):
                *buckets, total = found
                seen = 0.0
                for bound, count in zip((*BOUNDS_S, float("inf")), buckets, strict=True):
                    seen += count
                    le = "+Inf" if bound == float("inf") else f"{bound:g}"
                    yield f"{name}_bucket{_told((*labels, ('le', le)))} {seen:.15g}"
                yield f"{name}_sum{_told(labels)} {total:.9g}"
                yield f"{name}_count{_told(labels)} {seen:.15g}"
        yield "# TYPE raygen_requests_in_flight gauge"
        yield f"raygen_requests_in_flight {self.in_flight}"
        for gauge in ("replicas", "wanted", "running", "waiting", "batch_rows"):
            yield f"# TYPE raygen_model_{gauge} gauge"
            for model, figures in models.items():
                yield f"raygen_model_{gauge}{_told((('model', model),))} {getattr(figures, gauge):g}"

    def _count(self, name: str, amount: float, **labels: str) -> None:
        with self._lock:
            self._counters[name][tuple(sorted(labels.items()))] += amount

    def _observe(self, name: str, seconds: float, **labels: str) -> None:
        key = tuple(sorted(labels.items()))
        with self._lock:
            found = self._histograms[name].setdefault(key, [0.0] * (len(BOUNDS_S) + 2))
            found[bisect_left(BOUNDS_S, seconds)] += 1
            found[-1] += seconds


def _told(labels: Labels) -> str:
    if not labels:
        return ""
    escaped = (
        (name, value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")) for name, value in labels
    )
    return "{" + ",".join(f'{name}="{value}"' for name, value in escaped) + "}"
