"""Events: a training's curves for TensorBoard, as event files in its directory."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from raygen.storage import LocalStore, Store
from raygen.train.loop.records import is_evaluation, number

EVENTS_KEY = "tensorboard"
UPLOAD_S = 60.0  # event files grow: to a store without append they go whole, and seldom


class Events:
    """Writes records as they come. A session writes one event file, with the earlier records first; it replaces all others.

    Args:
        unit: what the records count a step's cost in.
    """

    def __init__(self, store: Store, earlier: Iterable[dict[str, Any]] = (), *, unit: str = "tokens") -> None:
        from tensorboardX import SummaryWriter

        self._store = store
        self._unit = unit
        self._old = [info.key for info in store.list(f"{EVENTS_KEY}/")]
        self._scratch: Path | None = None
        if isinstance(store, LocalStore):
            self._folder = store.path_of(EVENTS_KEY)
        else:
            self._folder = self._scratch = Path(tempfile.mkdtemp(prefix="raygen-events-"))
        self._uploaded_s = time.monotonic()
        self._last_step = -1
        # The name that it gives a file has the second of the day in it: sessions may follow each other faster.
        self._writer = SummaryWriter(
            str(self._folder), flush_secs=10, filename_suffix=f".{uuid.uuid4().hex[:8]}"
        )
        self.add(earlier)

    def add(self, records: Iterable[dict[str, Any]]) -> None:
        from tensorboardX.proto.event_pb2 import Event, SessionLog

        unit = self._unit
        for record in records:
            step = record["step"]
            if is_evaluation(record):
                for name in record["metrics"]:
                    if (value := number(record["metrics"], name)) is not None:
                        self._writer.add_scalar(f"{record['split']}/{name}", value, step)
                continue
            if (
                step <= self._last_step
            ):  # computed again: what TensorBoard has of it and of later ones is void
                start = SessionLog(status=SessionLog.START)
                self._writer.file_writer.event_writer.add_event(
                    Event(step=step, wall_time=time.time(), session_log=start)
                )
            self._last_step = step
            for name in ("loss", "learning_rate", "grad_norm"):
                if (value := number(record, name)) is not None:
                    self._writer.add_scalar(f"train/{name}", value, step)
            for phase, taken in record.get("phases", {}).items():
                for name in ("loss", "learning_rate", "grad_norm"):
                    if (value := number(taken, name)) is not None:
                        self._writer.add_scalar(f"train/{phase}/{name}", value, step)
            if record.get("seconds"):
                self._writer.add_scalar(f"train/{unit}_per_s", record[unit] / record["seconds"], step)

    def upload(self, now: bool = False) -> None:
        """Send the event file to a store that is no directory, if the last time was long enough ago, or `now`."""
        if self._scratch is None or not (now or time.monotonic() - self._uploaded_s >= UPLOAD_S):
            return
        self._writer.flush()
        for path in self._scratch.iterdir():
            self._store.put(f"{EVENTS_KEY}/{path.name}", path.read_bytes())
        self._uploaded_s = time.monotonic()

    def close(self) -> None:
        """Finish the file; then the earlier sessions' are not needed any more."""
        self._writer.close()
        self.upload(now=True)
        for key in self._old:
            self._store.delete(key)
        if self._scratch is not None:
            with contextlib.suppress(OSError):
                shutil.rmtree(self._scratch)
