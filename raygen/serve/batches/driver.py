"""The driver of one batch: from its request to its end, from wherever it stands. May be killed at any moment."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable

from raygen.config.source import StorageOptions
from raygen.errors import KeyNotFoundError, RaygenError, StorageError
from raygen.pipeline.monitor import Monitor
from raygen.pipeline.run import drive
from raygen.program.job import Job
from raygen.program.prepare import Prepared, prepare, prepare_retry
from raygen.serve.batches.claims import Claims
from raygen.serve.batches.ending import settle_end
from raygen.serve.batches.execution import LinkExecution, Way
from raygen.serve.batches.job import job_of
from raygen.serve.batches.layout import Place
from raygen.serve.batches.objects import Objects
from raygen.serve.batches.record import CANCELLED, COMPLETED, EXPIRED, Record, read_record
from raygen.serve.batches.validate import validate
from raygen.serve.config import Batches as Settings
from raygen.serve.models.catalog import Catalog
from raygen.serve.tenants.tenant import Tenant
from raygen.wire.errors import ApiError

LOOK_S = 1.0
ASK_S = 10.0  # for a link to tell its replicas
log = logging.getLogger(__name__)


class Driver:
    """Brings one batch, or one retry of it, as far as it gets.

    Args:
        retry: the number of the retry; 0: the batch itself.
        way: how chunks get to a model, by the model's name.
    """

    def __init__(
        self,
        place: Place,
        retry: int,
        objects: Objects,
        catalog: Catalog,
        settings: Settings,
        storage: StorageOptions,
        way: Callable[[str, Place], Way],
        claims: Claims | None = None,
    ) -> None:
        self.place, self.retry = place, retry
        self._objects, self._store = objects, objects.store
        self._catalog, self._settings, self._storage, self._way = catalog, settings, storage, way
        self._claims = claims
        self._claim = 0
        self._over = threading.Event()
        self._paused = threading.Event()

    def pause(self) -> None:
        """Begin no new chunk, and leave the batch to whoever takes it up again."""
        self._paused.set()

    def run(self) -> bool:
        """Work on the batch. Returns whether it has ended; False: somebody has to go on with it.

        Raises:
            RaygenError: it cannot go on now.
        """
        try:
            record = read_record(self._objects, self.place)
        except ApiError:  # there is no request, or not yet: the collector removes old markers
            return False
        if self._is_over(record):
            self._store.delete(self.place.marker(self.retry))
            return True
        if self._claims is not None:
            claim = self._claims.take(self.place)
            if claim is None:
                return False
            self._claim = claim
        return self._retried(record) if self.retry else self._worked(record)

    def _is_over(self, record: Record) -> bool:
        if not self.retry:
            return record.over
        return self.retry <= len(record.retries) and record.retries[self.retry - 1][1] is not None

    def _worked(self, record: Record) -> bool:
        if record.finalizing is not None:
            return self._end(str(record.finalizing["why"]))
        if record.verdict is None:
            if record.cancel is not None:
                return self._end(CANCELLED)
            self._judge(record)
            record = read_record(self._objects, self.place)
        verdict = record.verdict
        assert verdict is not None
        if verdict["errors"]:
            self._store.delete(self.place.marker())
            return True
        # Also of a batch that is not to begin: the plan holds its rows, and each gets a line that says why.
        why = self._why(record)
        try:
            run = prepare(Job.model_validate(verdict["job"]))
        except StorageError:
            raise
        except RaygenError:
            # It has no plan, and gets none. While its window is open somebody may mend what is wrong.
            if why is None:
                raise
            return self._end(why)
        if why is None:
            result = self._drive(run, float(record.request["expires_s"]), self._cancelled)
            why = COMPLETED if result == "finished" else self._why(read_record(self._objects, self.place))
        return why is not None and self._end(why)

    def _judge(self, record: Record) -> None:
        """Validate the input, and write down the verdict."""
        request, tenant = record.request, self._tenant(record)
        found = validate(
            self._store, request["content"], request["endpoint"], self._catalog, tenant, self._settings
        )
        job = None
        if not found.errors:
            assert found.model is not None
            link = self._catalog.links[found.model.partition(":")[0]]
            job = job_of(
                self.place, request, found.model, found.rows, link, self._store, self._storage
            ).model_dump(mode="json", exclude_none=True)
        told = {
            "errors": found.errors,
            "rows": 0 if found.errors else found.rows,
            "model": found.model,
            "job": job,
            "judged_s": time.time(),
        }
        self._objects.settle(self.place.verdict, told)

    def _tenant(self, record: Record) -> Tenant:
        models = record.request["models"]
        return Tenant(self.place.tenant, models=None if models is None else frozenset(models))

    def _why(self, record: Record) -> str | None:
        """Return how the batch is to end before all is done, if it is."""
        if record.cancel is not None:
            return CANCELLED
        return EXPIRED if time.time() >= record.request["expires_s"] else None

    def _end(self, why: str) -> bool:
        record = read_record(self._objects, self.place)
        if record.end is None:
            if why == COMPLETED and record.cancel is not None and record.finalizing is None:
                why = CANCELLED
            if why != CANCELLED:
                why = self._finalized(why)
                record = read_record(self._objects, self.place)
        if record.end is None:
            settle_end(self._objects, record, why)
        self._store.delete(self.place.marker())
        return True

    def _retried(self, record: Record) -> bool:
        if self.retry > len(record.retries):
            return False  # its request is not there, or not yet
        expires_s = float(record.retries[self.retry - 1][0]["expires_s"])
        assert record.verdict is not None
        run = prepare_retry(self._store.child(self.place.run), Job.model_validate(record.verdict["job"]))
        result = "finished"
        if run is not None:
            result = self._drive(run, expires_s, lambda: False)
        if result == "finished":
            settle_end(self._objects, record, COMPLETED, self.retry)
            return True
        if time.time() < expires_s:
            return False
        settle_end(self._objects, record, EXPIRED, self.retry)
        return True

    def _drive(self, run: Prepared, expires_s: float, cancelled: Callable[[], bool]) -> str:
        way = self._way(next(iter(run.job.models)), self.place)
        self._over.clear()

        def began(monitor: Monitor) -> None:
            def watch() -> None:
                if self._watch(monitor, expires_s, cancelled):
                    self._begin_no_more(run, way, expires_s, cancelled)

            threading.Thread(target=watch, name="batch-watch", daemon=True).start()

        try:
            return drive(
                run,
                inline=False,
                execute=lambda work, todos: LinkExecution(work, todos, way),
                began=began,
                report=False,
            ).state
        finally:
            self._over.set()

    def _cancelled(self) -> bool:
        return self._store.exists(self.place.cancel) or self._store.exists(self.place.end())

    def _watch(self, monitor: Monitor, expires_s: float, cancelled: Callable[[], bool]) -> bool:
        """Stop the session when it is not to go on; returns whether it was stopped."""
        while True:
            try:
                why = self._reason(expires_s, cancelled)
            except (StorageError, KeyNotFoundError):
                why = None  # the work itself will say so
            if why is not None:
                monitor.stop(why)
                return True
            if self._over.wait(LOOK_S):
                return False

    def _begin_no_more(
        self, run: Prepared, way: Way, expires_s: float, cancelled: Callable[[], bool]
    ) -> None:
        """Have the rows of chunks under way left alone that no engine has begun, if it is the batch that is over."""
        try:
            status = self._over_as(expires_s, cancelled)
            if status is not None:
                told = way.link.end_run(run.store.uri, status)
                asyncio.run_coroutine_threadsafe(told, way.loop).result(ASK_S)
        except Exception as error:  # noqa: BLE001 - then they are asked, and the batch ends as well, only later
            log.warning("%s: rows under way are all asked: %s", self.place.batch, type(error).__name__)

    def _over_as(self, expires_s: float, cancelled: Callable[[], bool]) -> str | None:
        """Return how the batch is over, if rows may be committed from now on that were never asked.

        With such rows it must not be completed by anybody: the cancel stands in the store, and of an expiry, which another
        worker's clock may not see yet, `finalizing` is written first. Raises StorageError.
        """
        if self.retry:  # what failed before stays as it was
            return None
        if cancelled():
            return CANCELLED
        if time.time() < expires_s:
            return None
        return EXPIRED if self._finalized(EXPIRED) == EXPIRED else None

    def _finalized(self, why: str) -> str:
        """Write down that the batch ends, and how; return what stands, which may be another worker's."""
        told = {"why": why, "finalizing_s": time.time()}
        return str(self._objects.settle(self.place.finalizing, told)["why"])

    def _reason(self, expires_s: float, cancelled: Callable[[], bool]) -> str | None:
        if self._paused.is_set():
            return "the worker lets go of this batch for now"
        if cancelled():
            return "the batch was cancelled"
        if time.time() >= expires_s:
            return "the batch expired"
        if self._claims is not None and not self._claims.holds(self.place, self._claim):
            return "another worker has this batch now"
        return None
