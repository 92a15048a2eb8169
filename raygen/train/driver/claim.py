"""The claim: a directory belongs to the training (or sweep) that began it. Others are refused, by what differs."""

from __future__ import annotations

import time
from typing import Any

from raygen.errors import RunConflictError, UnknownResultError
from raygen.runs.plan import changed_keys
from raygen.storage import Store
from raygen.storage.sealed import read_sealed, seal

RECIPE_KEY = "recipe.json"  # of a training, and of a sweep
VERSION = 1
TRIES = 8
SHOWN = 4  # differences that an error names


def claim(store: Store, key: str, name: str, identity: dict[str, Any], **beside: Any) -> None:
    """Make the directory ours, or find that it is.

    Args:
        key: of the record that says whose it is; created once.
        identity: what may not differ; `beside` is kept for people.

    Raises:
        RunConflictError: it belongs to another one.
    """
    record = {"version": VERSION, "name": name, "identity": identity, **beside}
    if _put(store, key, seal(record)):
        return
    found = read_sealed(store, key)
    if found["version"] != VERSION:
        raise RunConflictError(
            f"{store.uri_of(key)}: version {found['version']}; this raygen reads version {VERSION}: choose another --output"
        )
    differences = changed_keys(found["identity"], identity)
    if differences:
        more = f"; and {len(differences) - SHOWN} more" if len(differences) > SHOWN else ""
        raise RunConflictError(
            f"{store.uri} holds another training of {found['name']!r}: {'; '.join(differences[:SHOWN])}{more}. "
            "Choose another --output, or restore the old settings"
        )


def _put(store: Store, key: str, data: bytes) -> bool:
    """Create the record; False if there is one."""
    for _ in range(TRIES):
        try:
            return store.put_if_absent(key, data)
        except UnknownResultError:
            time.sleep(0.2)
            if store.exists(key):
                return False
    raise UnknownResultError(f"{store.uri_of(key)}: the store did not say whether it was written; run again")
