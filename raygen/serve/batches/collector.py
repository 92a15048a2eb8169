"""The collector: removes what crashes left and what is no more, and finds batches whose marker was lost.

Nothing that could still count is removed: whoever makes something looks, after its last write, whether what it wrote first is
still there. Ages are told by the store's clock.
"""

from __future__ import annotations

import time
from typing import Any

from raygen.runs.plan import PLAN_KEY
from raygen.serve.batches.files import is_expired
from raygen.serve.batches.idempotency import RECENT_S
from raygen.serve.batches.layout import ERRORS, KINDS, KNOWN, MARKER, OPEN, WORKERS, Place, result_id
from raygen.serve.batches.objects import Objects
from raygen.serve.batches.record import CANCELLED, EXPIRED, Record, read_record
from raygen.storage.base import ObjectInfo

GRACE_S = 3600.0
KEYS_S = 7 * 86400.0  # an Idempotency-Key holds for so long


def collect(objects: Objects, grace_s: float = GRACE_S) -> list[str]:
    """Tidy up a store. Returns the keys that were removed. Raises StorageError."""
    found = _Collector(objects, grace_s)
    for info in list(objects.store.list(KNOWN)):
        found.tenant(info.key.removeprefix(KNOWN))
    found.markers()
    return found.removed


class _Collector:
    def __init__(self, objects: Objects, grace_s: float) -> None:
        self._objects, self._store, self._grace_s = objects, objects.store, grace_s
        self.removed: list[str] = []
        clock = f"{WORKERS}collector.json"
        self._store.put(clock, b"")
        self._now_s = self._store.stat(clock).modified_s

    def markers(self) -> None:
        """Remove markers of requests that were never written."""
        for info in list(self._store.list(OPEN)):
            match = MARKER.fullmatch(info.key.removeprefix(OPEN))
            if match is None:
                continue
            place, retry = Place(match[1], match[2]), int(match[3] or 0)
            if self._old(info) and not self._store.exists(place.retry(retry) if retry else place.request):
                self._remove(info.key)
        for info in list(self._store.list(WORKERS)):
            if self._old(info, 86400.0):
                self._remove(info.key)

    def tenant(self, tenant: str) -> None:
        top = f"tenants/{tenant}/"
        records = [self._record(Place(tenant, name)) for name in self._objects.names(f"{top}requests/")]
        for record in records:
            if not record.over and not self._store.exists(record.place.marker()):
                self._objects.mark(record.place.marker())
        deleted = set(self._objects.names(f"{top}deleted/"))
        self._files(tenant, records, deleted)
        for record in records:
            self._results(record, deleted)
        for prefix, age_s in ((f"{top}idem/", KEYS_S), (f"{top}recent/", RECENT_S)):
            for info in list(self._store.list(prefix)):
                if self._old(info, age_s):
                    self._remove(info.key)

    def _record(self, place: Place) -> Record:
        """Read a batch; one that failed in two reads, which are remembered."""
        verdict, request = self._objects.find(place.verdict), self._objects.find(place.request)
        if verdict is not None and request is not None and verdict["errors"]:
            return Record(place, request, verdict)
        return read_record(self._objects, place)

    def _files(self, tenant: str, records: list[Record], deleted: set[str]) -> None:
        needed = {record.request["input_file_id"] for record in records if self._needs_input(record, deleted)}
        metas = {name: self._meta(tenant, name) for name in self._objects.names(f"tenants/{tenant}/files/")}
        named = {meta["content"] for meta in metas.values() if meta is not None}
        for info in list(self._store.list(f"tenants/{tenant}/contents/")):
            if info.key not in named and self._old(info):
                meta = self._meta(tenant, info.key.rpartition("/")[2].rpartition("-")[0])
                if meta is None or meta["content"] != info.key:
                    self._remove(info.key)
        for name, meta in metas.items():
            if meta is None or name in needed or not (name in deleted or is_expired(meta)):
                continue
            self._remove(str(meta["content"]))
            self._remove(f"tenants/{tenant}/files/{name}.json")
            if name in deleted:
                self._remove(f"tenants/{tenant}/deleted/{name}.json")

    def _meta(self, tenant: str, name: str) -> dict[str, Any] | None:
        return self._objects.find(f"tenants/{tenant}/files/{name}.json")

    def _needs_input(self, record: Record, deleted: set[str]) -> bool:
        """Whether a batch reads its input again: while it is open, and for the lines of what was never asked."""
        if not record.over or any(end is None for _, end in record.retries):
            return True
        return record.status in (CANCELLED, EXPIRED) and self._lives(record, 0, ERRORS, deleted)

    def _lives(self, record: Record, retry: int, kind: str, deleted: set[str]) -> bool:
        end = record.end if not retry else record.retries[retry - 1][1]
        if end is None or not end["bytes"][kind]:
            return False
        lives_s = end["result_lives_s"]
        gone = lives_s is not None and time.time() >= end["ended_s"] + lives_s
        return not gone and result_id(record.place.batch, kind, retry) not in deleted

    def _results(self, record: Record, deleted: set[str]) -> None:
        """Remove the run of a batch none of whose result files is left."""
        if record.end is None or any(end is None for _, end in record.retries):
            return
        ends = range(len(record.retries) + 1)
        if any(self._lives(record, retry, kind, deleted) for retry in ends for kind in KINDS):
            return
        run = f"{record.place.run}/"
        if not any(record.end["bytes"].values()) or not self._store.exists(f"{run}{PLAN_KEY}"):
            return
        # The plan last: a collection that was cut short is taken up again.
        keys = [info.key for info in self._store.list(run)]
        for key in sorted(keys, key=lambda key: key == f"{run}{PLAN_KEY}"):
            self._remove(key)

    def _old(self, info: ObjectInfo, age_s: float = 0.0) -> bool:
        return self._now_s - info.modified_s > max(age_s, self._grace_s)

    def _remove(self, key: str) -> None:
        self._store.delete(key)
        self._objects.forget(key)
        self.removed.append(key)
