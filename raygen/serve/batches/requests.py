"""Requests: what clients ask of batches: create, look, cancel, retry. Nothing here works on one; workers do."""

from __future__ import annotations

import re
import time
from typing import Annotated, Any, Literal

from pydantic import Field

from raygen.errors import CorruptDataError
from raygen.runs.plan import PLAN_KEY
from raygen.serve.batches.files import Files
from raygen.serve.batches.idempotency import FIRST, Once, conflict, id_for
from raygen.serve.batches.layout import BATCH, Place
from raygen.serve.batches.objects import Objects
from raygen.serve.batches.pages import Page
from raygen.serve.batches.record import (
    CANCELLING,
    COMPLETED,
    IN_PROGRESS,
    VALIDATING,
    batch_object,
    damaged_object,
    read_record,
)
from raygen.serve.config import Batches as Settings
from raygen.serve.tenants.tenant import Tenant
from raygen.wire import ENDPOINTS
from raygen.wire.base import WireModel
from raygen.wire.errors import ApiError
from raygen.wire.parse import parse_as

WINDOW = re.compile(r"([1-9][0-9]{0,5})([hm])")
PAIRS = 16


class ResultExpiry(WireModel):
    anchor: Literal["created_at"]
    seconds: Annotated[int, Field(ge=3600, le=2_592_000)]


class CreateBody(WireModel):
    """A batch to begin."""

    input_file_id: str
    endpoint: str
    completion_window: str = Field(description="such as 24h; hours (h) or minutes (m)")
    metadata: dict[str, str] | None = None
    output_expires_after: ResultExpiry | None = None


class Requests:
    """The batches of all tenants, as clients see them."""

    def __init__(self, objects: Objects, files: Files, settings: Settings) -> None:
        self._objects, self._files, self._settings = objects, files, settings

    def create(self, tenant: Tenant, body: dict[str, Any], once: Once = FIRST) -> dict[str, Any]:
        """Create a batch. What is wrong with its file shows later: the batch is `failed`, with the lines.

        Raises ApiError.
        """
        asked = parse_as(CreateBody, body)
        window_s = self._window_s(asked.completion_window)
        if asked.endpoint not in ENDPOINTS:
            raise ApiError(
                400, "invalid_value", f"endpoint: {asked.endpoint[:100]!r}; endpoints: {', '.join(ENDPOINTS.names())}", "endpoint"
            )  # fmt: skip
        _check_metadata(asked.metadata)
        lives = asked.output_expires_after
        told = {
            "input_file_id": asked.input_file_id, "endpoint": asked.endpoint, "metadata": asked.metadata,
            "completion_window": asked.completion_window, "result_lives_s": lives and lives.seconds,
        }  # fmt: skip
        if not once.key and not once.retries:
            self._check_input(tenant, asked.input_file_id)
        batch = id_for(self._objects, tenant.name, "batches", "batch_", once, told)
        place = Place(tenant.name, batch)
        if self._objects.find(place.request) is None:
            file = self._check_input(tenant, asked.input_file_id)
            # The marker is before the request: a batch that exists is never without somebody to find it.
            self._objects.mark(place.marker())
            now_s = time.time()
            models = None if tenant.models is None else sorted(tenant.models)
            record = {
                "id": batch,
                "created_s": now_s,
                "expires_s": now_s + window_s,
                "models": models,
                "content": file["content"],
                **told,
            }
            self._objects.settle(place.request, record)
        record_now = read_record(self._objects, place)
        if not record_now.over:
            self._objects.mark(place.marker())  # taken for a leftover while this process slept
        return batch_object(self._objects, record_now)

    def get(self, tenant: Tenant, batch: str) -> dict[str, Any]:
        """Return a batch. Raises ApiError 404 `batch_not_found`."""
        return batch_object(self._objects, read_record(self._objects, self._place(tenant, batch)))

    def listed(self, tenant: Tenant, page: Page) -> dict[str, Any]:
        """Return a page of batches, newest first."""
        ids = self._objects.names(f"tenants/{tenant.name}/requests/")
        return page.of(self._shown(tenant, batch) for batch in page.after(ids) if BATCH.fullmatch(batch))

    def _shown(self, tenant: Tenant, batch: str) -> dict[str, Any]:
        """Return a batch as listings show it: one whose record is damaged says so, and hides no other."""
        try:
            return self.get(tenant, batch)
        except CorruptDataError:
            return damaged_object(batch)

    def cancel(self, tenant: Tenant, batch: str) -> dict[str, Any]:
        """Ask for a batch's end: rows that are being answered still count. Raises ApiError 404, 409."""
        place = self._place(tenant, batch)
        record = read_record(self._objects, place)
        if record.status not in (VALIDATING, IN_PROGRESS, CANCELLING):
            raise conflict("batch_not_cancellable", f"the batch is {record.status}: it cannot be cancelled")
        self._objects.settle(place.cancel, {"cancelling_s": time.time()})
        return self.get(tenant, batch)

    def retry(self, tenant: Tenant, batch: str, once: Once = FIRST) -> dict[str, Any]:
        """Ask for a completed batch's failed rows again. Raises ApiError 404, 409."""
        place = self._place(tenant, batch)
        record = read_record(self._objects, place)
        if record.status != COMPLETED or record.result is None:
            raise conflict(
                "batch_not_retryable", f"the batch is {record.status}: only completed ones are retried"
            )
        asked = id_for(self._objects, tenant.name, "retries", "retry_", once, {"batch": batch})
        if any(request["asked"] == asked for request, _ in record.retries):
            return batch_object(self._objects, record)
        number = len(record.retries) + 1
        if record.retries and record.retries[-1][1] is None:
            self._objects.mark(place.marker(number - 1))
            return batch_object(self._objects, record)  # one is under way
        if not record.result[1]["counts"]["failed"]:
            raise conflict("nothing_to_retry", "no request of this batch failed")
        self._files.find(tenant.name, record.request["input_file_id"], "input_file_id")
        if not self._objects.store.exists(f"{place.run}/{PLAN_KEY}"):
            raise conflict("batch_not_retryable", "the results of this batch were deleted")
        self._objects.mark(place.marker(number))
        now_s = time.time()
        window_s = record.request["expires_s"] - record.request["created_s"]
        told = {"asked": asked, "created_s": now_s, "expires_s": now_s + window_s}
        self._objects.settle(place.retry(number), told)
        self._objects.mark(place.marker(number))
        return self.get(tenant, batch)

    def _place(self, tenant: Tenant, batch: str) -> Place:
        if not BATCH.fullmatch(batch):
            raise ApiError(404, "batch_not_found", f"there is no batch {batch[:100]!r}", "batch_id")
        return Place(tenant.name, batch)

    def _check_input(self, tenant: Tenant, file: str) -> dict[str, Any]:
        found = self._files.find(tenant.name, file, "input_file_id")
        if found["purpose"] != "batch":
            raise ApiError(
                400, "invalid_value", f"input_file_id: {file} has purpose {found['purpose']}, not batch", "input_file_id"
            )  # fmt: skip
        return found

    def _window_s(self, window: str) -> float:
        match, most_s = WINDOW.fullmatch(window), self._settings.max_window_s
        window_s = int(match[1]) * (3600 if match[2] == "h" else 60) if match else 0
        if not 0 < window_s <= most_s:
            raise ApiError(
                400,
                "invalid_value",
                f"completion_window: {window[:40]!r}; write hours or minutes, such as 24h or 30m, at most {most_s / 3600:g}h",
                "completion_window",
            )
        return window_s


def _check_metadata(metadata: dict[str, str] | None) -> None:
    if metadata is None:
        return
    if len(metadata) > PAIRS or any(
        not 0 < len(key) <= 64 or len(value) > 512 for key, value in metadata.items()
    ):
        raise ApiError(
            400,
            "invalid_value",
            f"metadata: at most {PAIRS} pairs, keys of 1 to 64 characters, values of at most 512",
            "metadata",
        )
