"""Idempotency: one POST makes one object, however often it is sent.

A key (`Idempotency-Key`) is written before what it makes, so that whoever repeats the request finishes what a crash left.
Official clients send none, and repeat a POST whose answer was lost: they say so (`x-stainless-retry-count`). So requests without
a key leave a trace of their own for some minutes, and a repeated one finds it by its digest.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from typing import Any

from raygen.serve.batches.layout import made_s, new_id
from raygen.serve.batches.objects import Objects
from raygen.storage.sealed import digest_of
from raygen.wire.errors import ApiError

RECENT_S = 15 * 60.0
KEY_BYTES = 255


@dataclass(frozen=True, slots=True)
class Once:
    """How a client asks for something that is to be made once.

    Attributes:
        key: its `Idempotency-Key`. retries: how often it sent this request before.
    """

    key: str | None = None
    retries: int = 0

    @classmethod
    def of(cls, headers: Any) -> Once:
        """Return what a request's headers say. Raises ApiError."""
        key = headers.get("idempotency-key")
        if key is not None and not 0 < len(key) <= KEY_BYTES:
            raise ApiError(400, "invalid_value", f"Idempotency-Key: 1 to {KEY_BYTES} characters")
        count = headers.get("x-stainless-retry-count", "0")
        return cls(key, int(count) if count.isascii() and count.isdigit() and len(count) < 4 else 0)


FIRST = Once()


def id_for(objects: Objects, tenant: str, kind: str, prefix: str, once: Once, body: Any) -> str:
    """Return the id of what a request makes: a new one, or that of the same request before.

    Args:
        kind: `files`, `batches`, `retries`: a key holds for one of them.
        prefix: of the id. body: what was asked; a key with another body is refused.

    Raises:
        ApiError: 409 `idempotency_conflict`.
    """
    digest = digest_of(body)
    name = new_id(prefix)
    if once.key is not None:
        key = hashlib.sha256(f"{kind}\0{once.key}".encode()).hexdigest()
        record = {"id": name, "body": digest, "created_s": time.time()}
        standing = objects.settle(f"tenants/{tenant}/idem/{key}.json", record)
        if standing["body"] != digest:
            raise conflict(
                "idempotency_conflict", "this Idempotency-Key was used before, with another request"
            )
        return str(standing["id"])
    recent = f"tenants/{tenant}/recent/{kind}-{digest}/"
    if once.retries:
        for info in objects.store.list(recent):
            found = info.key.removeprefix(recent)
            if time.time() - made_s(found) < RECENT_S:
                return found
            break  # they are newest first
    objects.mark(f"{recent}{name}")
    return name


def conflict(code: str, message: str, param: str | None = None) -> ApiError:
    """Return a 409 that official clients do not repeat."""
    return ApiError(409, code, message, param, {"x-should-retry": "false"})
