"""The claim: a directory belongs to the training (or sweep) that began it. Others are refused, by what differs."""

from __future__ import annotations

from typing import Any

from raygen.config.compare import changed_keys, first_of
from raygen.errors import RunConflictError
from raygen.storage import Store
from raygen.storage.create import create_once
from raygen.storage.sealed import read_sealed, seal

RECIPE_KEY = "recipe.json"  # of a training, and of a sweep
VERSION = 1


def claim(store: Store, key: str, name: str, identity: dict[str, Any], **beside: Any) -> None:
    """Make the directory ours, or make sure that it is.

    Args:
        key: of the record that says whose it is; created once.
        identity: what may not differ; `beside` is kept for people.

    Raises:
        RunConflictError: it belongs to another one.
    """
    record = {"version": VERSION, "name": name, "identity": identity, **beside}
    standing = create_once(
        store,
        key,
        seal(record),
        lambda: read_sealed(store, key),
        unsettled="the record was written; run again",
    )
    if standing is None:
        return
    if standing["version"] != VERSION:
        raise RunConflictError(
            f"{store.uri_of(key)}: version {standing['version']}; this raygen reads version {VERSION}: choose another --output"
        )
    differences = changed_keys(standing["identity"], identity)
    if differences:
        raise RunConflictError(
            f"{store.uri} holds another training of {standing['name']!r}: {first_of(differences)}. "
            "Choose another --output, or restore the old settings"
        )
