"""Metrics: what an engine posts, as Ray metrics; Ray's own agents serve them to Prometheus as `ray_raygen_engine_*`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from raygen.engines.figures import USAGE, kv_use, prefix_hit_rate

PREFIX = "raygen_engine_"


class EngineMetrics:
    """The figures of one engine actor. Totals too are set, not counted up: a restarted actor begins anew at 0."""

    def __init__(self, run: str) -> None:
        self._tags = {"run": run}
        self._gauges: dict[str, Any] = {}

    def show(self, figures: Mapping[str, float]) -> None:
        """Set a gauge for every figure of the engine as a whole, and for those derived from them."""
        from ray.util.metrics import Gauge

        derived = {"prefix_hit_rate": prefix_hit_rate(figures), "kv_use": kv_use(figures)}
        for key, value in {**figures, **derived}.items():
            key = re.sub(r"[^a-zA-Z0-9_]", "_", key.removeprefix(USAGE)) if key.startswith(USAGE) else key
            if value is None or "." in key:  # of one model: no name that Prometheus takes
                continue
            if key not in self._gauges:
                self._gauges[key] = Gauge(
                    PREFIX + key, description=key.replace("_", " "), tag_keys=("run",)
                ).set_default_tags(self._tags)
            self._gauges[key].set(value)
