"""Standing: how deployments stand by what Serve says of them; asked for at most once a second."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

from raygen.serve.models.link import Figures

FRESH_S = 1.0


def deployment_of(model: str) -> str:
    """Return the name of a model's deployment."""
    return f"model_{model}"


class Standing:
    """How the deployments of one application stand. Asking wakes nothing."""

    def __init__(self, application: str) -> None:
        self._application = application
        self._found: dict[str, Any] = {}
        self._asked_s = -FRESH_S
        self._asking = asyncio.Lock()

    async def of(self, model: str) -> Figures:
        """Return how a model's deployment stands, without its replicas' own figures."""
        async with self._asking:
            if time.monotonic() - self._asked_s >= FRESH_S:
                found = await asyncio.to_thread(_status, self._application)
                if found is not None:  # else the controller is away: what it said last is the best there is
                    self._found = found
                self._asked_s = time.monotonic()
        overview = self._found.get(deployment_of(model))
        if overview is None:
            return Figures("loading")
        replicas = {_word(state): number for state, number in overview.replica_states.items()}
        return standing(_word(overview.status), replicas)


def standing(status: str, replicas: dict[str, int]) -> Figures:
    """Return what Serve's words for a deployment and its replicas come to.

    Args:
        status: HEALTHY, UNHEALTHY, DEPLOY_FAILED, UPDATING, ...
        replicas: how many are RUNNING, STARTING, STOPPING, ...
    """
    running = replicas.get("RUNNING", 0)
    coming = sum(n for state, n in replicas.items() if state in ("STARTING", "UPDATING", "RECOVERING"))
    state: Literal["cold", "loading", "ready", "broken"]
    if running:
        state = "ready"
    elif status in ("UNHEALTHY", "DEPLOY_FAILED"):
        state = "broken"
    elif coming or status == "UPDATING":
        state = "loading"
    else:
        state = "cold"
    return Figures(state, running, running + coming)


def summed(figures: Sequence[Figures], standing: Figures) -> Figures:
    """Return the figures of a model's replicas together."""
    totals: Counter[str] = Counter()
    for each in figures:
        totals.update(each.totals)
    return Figures(
        "ready",
        len(figures),
        max(len(figures), standing.wanted),
        sum(each.running for each in figures),
        sum(each.waiting for each in figures),
        sum(each.batch_rows for each in figures),
        dict(totals),
    )


def _word(state: Any) -> str:
    """Return one of Serve's words, which come as members of an enumeration or as they are."""
    return str(getattr(state, "value", state))


def _status(application: str) -> dict[str, Any] | None:
    from ray import serve

    try:
        found = serve.status().applications.get(application)
    except Exception:  # noqa: BLE001 - whatever Ray raises while the controller is being started again
        return None
    return {} if found is None else dict(found.deployments)
