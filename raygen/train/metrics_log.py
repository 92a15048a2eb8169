"""The metrics log: every record of a training, as JSON Lines in its directory. A resumed training goes on in it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from raygen.errors import KeyNotFoundError
from raygen.storage import Store

METRICS_KEY = "metrics.jsonl"
FLUSH_S = 5.0
SHARE = 0.05  # of the time, at most, is spent on writing: a store has no append, so all is written anew


class MetricsLog:
    """Records in the order of their steps: of steps ({step, epoch, loss, ...}), and of evaluations ({step, split, metrics}).

    A training that resumes computes some steps again. What it says replaces what was said of that step and of all
    later ones.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._written_s = time.monotonic()
        self._pause_s = FLUSH_S
        self._changed = False
        self.records: list[dict[str, Any]] = list(read_metrics(store))

    def add(self, records: Iterable[dict[str, Any]]) -> None:
        for record in records:
            if not is_evaluation(record):
                while self.records and self.records[-1]["step"] >= record["step"]:
                    self.records.pop()
            self.records.append(record)
            self._changed = True

    def flush(self, now: bool = False) -> None:
        """Write what is new, if the last time was long enough ago, or `now`. Raises StorageError."""
        if not self._changed or not (now or time.monotonic() - self._written_s >= self._pause_s):
            return
        began_s = time.monotonic()
        lines = (orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE) for record in self.records)
        self._store.put(METRICS_KEY, b"".join(lines))
        self._written_s = time.monotonic()
        self._pause_s = max(FLUSH_S, (self._written_s - began_s) / SHARE)
        self._changed = False


def is_evaluation(record: dict[str, Any]) -> bool:
    return "split" in record


def read_metrics(store: Store) -> Iterator[dict[str, Any]]:
    """Yield the records of a training; none if it has not said anything yet."""
    try:
        data = store.get(METRICS_KEY)
    except KeyNotFoundError:
        return
    for line in data.splitlines():
        yield orjson.loads(line)
