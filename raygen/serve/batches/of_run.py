"""Of a run: the batch that it belongs to, for who looks at the run's directory alone."""

from __future__ import annotations

import re

from raygen.errors import CorruptDataError
from raygen.serve.batches.layout import BATCH, KINDS, Place, result_id
from raygen.serve.batches.objects import Objects
from raygen.serve.batches.record import CANCELLED, COMPLETED, Record, read_record
from raygen.storage import Store, open_store
from raygen.wire.errors import ApiError

RUN = re.compile(rf"(?P<store>.+)/tenants/(?P<tenant>[^/]+)/batches/(?P<batch>{BATCH.pattern})/run/?")


def batch_of(run: Store) -> Record | None:
    """Return the record of the batch that a run belongs to; None: it belongs to none, or was copied without it.

    Raises:
        StorageError: the store does not answer.
    """
    match = RUN.fullmatch(run.uri)
    if match is None:
        return None
    try:
        return read_record(Objects(open_store(match["store"])), Place(match["tenant"], match["batch"]))
    except (ApiError, CorruptDataError):
        return None


def batch_lines(record: Record) -> list[str]:
    """Return what `raygen status` says of a batch: how it ended and where its results are, or who goes on with it."""
    if not record.over:
        return [f"the batch is {record.status}: a service of this store goes on with it"]
    if record.end is None or record.status == COMPLETED:
        return []
    results = [result_id(record.place.batch, kind, 0) for kind in KINDS if record.end["bytes"][kind]]
    told = " and ".join(f"/v1/files/{name}/content" for name in results) or "it has none"
    return [
        f"the batch {'was cancelled' if record.status == CANCELLED else 'has expired'}: no row of it is asked any more",
        f"results, of its service: {told}",
    ]
