"""Sealed JSON: a run's own records carry the digest of their content, so that a flipped bit is noticed."""

from __future__ import annotations

import hashlib
import time
from typing import Any

import orjson

from raygen.errors import CorruptDataError
from raygen.storage import Store

READ_TRIES = 4


def seal(record: dict[str, Any]) -> bytes:
    """Return the record as JSON with `seal`, the SHA-256 of everything else in it."""
    return orjson.dumps({**record, "seal": digest_of(record)})


def unseal(data: bytes, where: str) -> dict[str, Any]:
    """Parse and check a sealed record. Raises CorruptDataError."""
    try:
        record = orjson.loads(data)
        found = record.pop("seal")
    except (orjson.JSONDecodeError, KeyError, AttributeError, TypeError):
        raise CorruptDataError(f"{where}: not a sealed record") from None
    if found != digest_of(record):
        raise CorruptDataError(f"{where}: its content does not match its seal")
    return dict(record)


def read_sealed(store: Store, key: str, remedy: str = "") -> dict[str, Any]:
    """Read a sealed record; a corrupt answer is asked for again. Raises KeyNotFoundError, CorruptDataError.

    Args:
        remedy: what to do about a record that is damaged: ends the error.
    """
    for tries in range(READ_TRIES - 1):
        try:
            return unseal(store.get(key), store.uri_of(key))
        except CorruptDataError:
            time.sleep(0.05 * 2**tries)
    try:
        return unseal(store.get(key), store.uri_of(key))
    except CorruptDataError as error:
        raise CorruptDataError(f"{error}; {remedy}" if remedy else str(error)) from None


def digest_of(value: Any) -> str:
    """SHA-256 of a JSON value in its canonical form (sorted keys, no white space)."""
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()
