"""Job: a batch as a job: its file through the one step `answer`."""

from __future__ import annotations

from typing import Any

from raygen.config.source import StorageOptions
from raygen.program.job import Job
from raygen.serve.batches.layout import Place
from raygen.serve.models.link import Link
from raygen.storage import Store
from raygen.storage.sealed import digest_of

SMALLEST, LARGEST, CHUNKS = 16, 256, 400  # rows a chunk; chunks that a large batch has


def job_of(
    place: Place, request: dict[str, Any], model: str, rows: int, link: Link, store: Store, storage: StorageOptions
) -> Job:  # fmt: skip
    """Return the job of a batch.

    Args:
        model: that its lines name: a model's name, or `model:adapter`.
        rows: how many lines it has.
    """
    base, _, adapter = model.partition(":")
    spec = link.model.spec.model_dump(mode="json")
    if adapter:
        spec["adapters"] = {**spec["adapters"], adapter: link.adapters[adapter]}
    answer = {
        "endpoint": request["endpoint"],
        "model": base,
        "served_as": model,
        "adapter": adapter or None,
        "created_s": int(request["created_s"]),
    }
    source = {
        "format": "jsonl",
        "uri": store.uri_of(request["content"]),
        "key": "custom_id",
        "storage": storage.model_dump(),
    }
    return Job.model_validate(
        {
            "name": place.batch,
            "source": source,
            "models": {base: spec},
            "steps": [{"answer": answer}],
            "seed": int(digest_of([place.tenant, place.batch])[:13], 16),
            "sink": {"chunk_rows": min(LARGEST, max(SMALLEST, rows // CHUNKS))},
            "output": store.uri_of(place.run),
        }
    )
