"""Scaling: how many replicas of a model there should be, by rows under way and waiting.

Serve copies this module by value into its controller, so it imports nothing.
"""

from __future__ import annotations

from typing import Any


def by_rows(context: Any) -> tuple[int, dict[str, Any]]:
    """Return how many replicas the rows of this moment want, and no state. Serve puts bounds and delays around it.

    A request of a person and a row of a batch are a row each. Serve's own count would take a chunk of a batch for one.

    Args:
        context: Serve's; its metrics are what `record_autoscaling_stats` of the model's replicas last said.
    """
    said = context.aggregated_metrics or {}
    rows = sum((said.get("rows_running") or {}).values()) + sum((said.get("rows_waiting") or {}).values())
    rows += context.total_queued_requests or 0  # at the gateways: what no replica has taken yet
    each = max((said.get("rows_per_replica") or {}).values(), default=0) or 1
    wanted = int(-(-rows // each))
    return max(wanted, 1 if rows > 0 else 0), {}
