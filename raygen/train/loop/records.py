"""The metrics log: every record of a training, as JSON Lines in its directory. A resumed training goes on in it."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson

from raygen.errors import KeyNotFoundError
from raygen.storage import Store

METRICS_KEY = "metrics.jsonl"
FINISHED_KEY = "finished.json"  # sealed; written after the model
PARTS = "metrics/"  # what the first worker said up to a checkpoint: there before the checkpoint counts
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
        self._mend()

    def _mend(self) -> None:
        """Fill in what the workers kept, of what a killed driver had not written yet."""
        parts = [info.key for info in self._store.list(PARTS)]
        if parts:
            said = [record for _, data in self._store.get_many(parts) for record in _parse(data)]
            known = {_place(record): record for record in [*said, *self.records]}
            self.records = [known[place] for place in sorted(known)]
            self._changed = True

    def close(self) -> None:
        """Write everything; what the workers kept is not needed any more."""
        self.flush(now=True)
        for info in list(self._store.list(PARTS)):
            self._store.delete(info.key)

    def add(self, records: Iterable[dict[str, Any]]) -> None:
        for record in records:
            while self.records and self._replaces(record, self.records[-1]):
                self.records.pop()
            self.records.append(record)
            self._changed = True

    @staticmethod
    def _replaces(new: dict[str, Any], old: dict[str, Any]) -> bool:
        if is_evaluation(new):
            return is_evaluation(old) and old["split"] == new["split"] and old["step"] >= new["step"]
        return bool(old["step"] >= new["step"])

    def flush(self, now: bool = False) -> None:
        """Write what is new, if the last time was long enough ago, or `now`. Raises StorageError."""
        if not self._changed or not (now or time.monotonic() - self._written_s >= self._pause_s):
            return
        began_s = time.monotonic()
        self._store.put(METRICS_KEY, _dump(self.records))
        self._written_s = time.monotonic()
        self._pause_s = max(FLUSH_S, (self._written_s - began_s) / SHARE)
        self._changed = False


def is_evaluation(record: dict[str, Any]) -> bool:
    """Return whether a record is that of an evaluation."""
    return "split" in record


def validations(records: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the evaluations on the validation split."""
    return (record for record in records if record.get("split") == "validation")


def number(values: Mapping[str, Any], name: str) -> float | None:
    """Return a finite value; None if it is missing or not finite (JSON has null for it)."""
    value = values.get(name)
    return float(value) if value is not None and math.isfinite(value) else None


def read_metrics(store: Store) -> Iterator[dict[str, Any]]:
    """Yield the records of a training; none if it has not said anything yet."""
    try:
        data = store.get(METRICS_KEY)
    except KeyNotFoundError:
        return
    yield from _parse(data)


def keep_part(store: Store, step: int, records: Iterable[dict[str, Any]]) -> None:
    """Keep the records that came before a checkpoint, on the worker's side: its driver may be killed at any time."""
    store.put(f"{PARTS}{step:08d}.jsonl", _dump(records))


def _place(record: dict[str, Any]) -> tuple[int, str]:
    return record["step"], record.get("split", "")  # a step stands before its evaluations


def _dump(records: Iterable[dict[str, Any]]) -> bytes:
    return b"".join(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE) for record in records)


def _parse(data: bytes) -> Iterator[dict[str, Any]]:
    return map(orjson.loads, data.splitlines())
