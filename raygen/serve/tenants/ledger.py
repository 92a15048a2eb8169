"""The ledger: what was used, as small objects that are each written once. Interactive requests here; batches count by their ends.

`usage/<tenant>/<day>/<gateway>-<number>.json` holds amounts by model and unit since the object before. At most a few seconds are
lost with a process; nothing is ever counted twice.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from raygen.serve.config import ServedModel
from raygen.serve.tenants.limits import tokens_in
from raygen.storage import Store
from raygen.storage.create import create_once
from raygen.storage.sealed import read_sealed, seal
from raygen.usage import Usage

FLUSH_S = 5.0
LOOK_S = 30.0


@dataclass(slots=True)
class Line:
    """What a tenant asked of a model."""

    requests: int = 0
    usage: Usage = field(default_factory=Usage)

    def add(self, requests: int, usage: Usage) -> None:
        self.requests += requests
        self.usage += usage


class Ledger:
    """One gateway's ledger. Blocks when it writes; safe to share between threads."""

    def __init__(self, store: Store) -> None:
        self._store, self._name, self._number = store, secrets.token_hex(6), 0
        self._open: dict[tuple[str, str], Line] = defaultdict(Line)
        # By key: tenant, tokens and data of objects of which the store has not said that they stand. They keep their keys.
        self._unsettled: dict[str, tuple[str, float, bytes]] = {}
        self._lock = threading.Lock()
        self._month: dict[str, tuple[float, float]] = {}  # tenant -> when it was read, tokens
        self._since: dict[str, float] = defaultdict(float)  # tokens that were added since then
        self._ended: dict[str, dict[str, Any]] = {}  # of batches

    def add(self, tenant: str, model: str, usage: Usage) -> None:
        """Note a request and what it used."""
        with self._lock:
            self._open[tenant, model].add(1, usage)
            self._since[tenant] += tokens_in(usage)

    def flush(self) -> None:
        """Write what was added since the last time.

        Raises:
            StorageError: what is not written is kept, of all tenants, and written the next time. A write whose answer was lost is
                repeated under the same key, so that it counts once.
        """
        with self._lock:
            lines, self._open = self._open, defaultdict(Line)
            for tenant in sorted({tenant for tenant, _ in lines}):
                mine = {model: line for (owner, model), line in lines.items() if owner == tenant}
                self._number += 1
                day = datetime.now(UTC).strftime("%Y-%m-%d")
                record = {
                    m: {"requests": line.requests, "usage": dict(line.usage)} for m, line in mine.items()
                }
                tokens = sum(tokens_in(line.usage) for line in mine.values())
                key = f"usage/{tenant}/{day}/{self._name}-{self._number:08d}.json"
                self._unsettled[key] = tenant, tokens, seal({"models": record})
            unsettled = list(self._unsettled.items())
        for key, (_, _, data) in unsettled:
            create_once(self._store, key, data, partial(self._store.get, key))
            with self._lock:
                self._unsettled.pop(key, None)

    def month_tokens(self, tenant: str) -> float:
        """Return the tokens of this month, as read lately, and what was added since."""
        now = time.monotonic()
        read = self._month.get(tenant)
        if read is None or now - read[0] > LOOK_S:
            month = datetime.now(UTC).strftime("%Y-%m")
            lines = read_usage(self._store, tenant, month, self._ended)
            tokens = sum(tokens_in(line.usage) for line in lines.values())
            with self._lock:
                unwritten = sum(
                    tokens_in(line.usage) for (owner, _), line in self._open.items() if owner == tenant
                ) + sum(tokens for owner, tokens, _ in self._unsettled.values() if owner == tenant)
                self._month[tenant], self._since[tenant] = (now, tokens), unwritten
        return self._month[tenant][1] + self._since[tenant]


def read_usage(
    store: Store, tenant: str, month: str, ended: dict[str, dict[str, Any]] | None = None
) -> dict[str, Line]:
    """Return what a tenant used in a month (`2026-12`), by model: requests, and batches that ended in it.

    Args:
        ended: ends of batches that were read before, by key; they never change.
    """
    found: dict[str, Line] = defaultdict(Line)
    for info in store.list(f"usage/{tenant}/{month}-"):
        for model, line in read_sealed(store, info.key)["models"].items():
            found[model].add(line["requests"], Usage(line["usage"]))
    for end in _ends(store, tenant, {} if ended is None else ended):
        if datetime.fromtimestamp(end["ended_s"], UTC).strftime("%Y-%m") == month:
            found[end["model"]].add(end["requests"], Usage(end["usage"]))
    return dict(found)


def _ends(store: Store, tenant: str, ended: dict[str, dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield how each batch ended: of one whose failed rows were asked again the last end, which counts all of it."""
    last: dict[str, tuple[int, str]] = {}
    for info in store.list(f"tenants/{tenant}/ends/"):
        name = info.key.rpartition("/")[2].removesuffix(".json")
        batch, _, retry = name.partition("-")
        last[batch] = max(last.get(batch, (0, info.key)), (int(retry or 0), info.key))
    for _, key in last.values():
        if key not in ended:
            end = read_sealed(store, key)
            ended[key] = {
                "model": end.get("model") or "-",
                "requests": end["counts"]["completed"] + end["counts"]["failed"],
                "usage": end["usage"],
                "ended_s": end["ended_s"],
            }
        yield ended[key]


def tenants_in(store: Store) -> list[str]:
    """Return the tenants that used anything."""
    return sorted({info.key.split("/")[1] for top in ("usage/", "tenants/") for info in store.list(top)})


def cost_of(usage: Usage, model: ServedModel | None) -> tuple[float, str] | None:
    """Return what an amount costs and in which currency; None: the model has no prices."""
    if model is None or model.prices is None:
        return None
    prices = model.prices.per_million
    return sum(prices.get(unit, 0.0) * amount / 1e6 for unit, amount in usage.items()), model.prices.currency


def usage_record(lines: dict[str, Line], models: Callable[[str], ServedModel | None]) -> dict[str, Any]:
    """Return a tenant's usage as JSON: by model its requests, amounts by unit, and money where prices are known."""
    told = {}
    for name, line in sorted(lines.items()):
        cost = cost_of(line.usage, models(name.partition(":")[0]))
        told[name] = {"requests": line.requests, "usage": dict(line.usage)}
        if cost is not None:
            told[name] |= {"cost": round(cost[0], 6), "currency": cost[1]}
    return told
