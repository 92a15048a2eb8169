"""Reuse: another run of the same rows, whose recorded answers a run takes over instead of asking its models again.

Answers are found by what was asked of which weights (Calls.key), so nothing that does not hold any more is ever taken.
That both runs have the same rows in the same chunks makes them found at all: it is checked before work begins.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from raygen.config import StorageOptions
from raygen.errors import ConfigError, KeyNotFoundError, UserError
from raygen.runs.commit import read_commit, read_data
from raygen.runs.manifest import MANIFEST_KEY
from raygen.runs.plan import Plan, changed_keys
from raygen.runs.retries import retry_prefixes
from raygen.storage import Store, open_store

REMEDY = "Give a run of the same rows in the same chunks, or leave --reuse out"


@dataclass(frozen=True)
class Reuse:
    """Where the outcomes of another run are; small enough to send with each task."""

    uri: str
    storage: StorageOptions
    retries: tuple[str, ...] = ()  # prefixes of its finished retries, newest first

    def outcomes(self, chunk: int) -> pa.Table | None:
        """Return its outcomes of a chunk, checked against their digest; None while it has committed none.

        Raises:
            CorruptDataError, KeyNotFoundError: they are damaged, or gone.
            StorageError: the store does not answer.
        """
        top = open_store(self.uri, self.storage)
        for prefix in (*self.retries, ""):
            store = top.child(prefix) if prefix else top
            try:
                commit = read_commit(store, chunk)
            except KeyNotFoundError:
                continue
            return read_data(store, commit)
        return None


def find_reuse(uri: str, plan: Plan, store: Store, storage: StorageOptions) -> Reuse:
    """Look at the run that is to be reused.

    Args:
        plan, store: of the run that reuses it.

    Raises:
        UserError: there is no run; it is this one; or its rows or chunks are others, which are named.
    """
    found = open_store(uri, storage)
    if found.uri == store.uri:
        raise ConfigError(
            f"execution.reuse: {uri} is the output of this very run; choose another --output for it"
        )
    try:
        other = Plan.load(found)
    except KeyNotFoundError:
        raise UserError(
            f"execution.reuse: {found.uri}: no run here (no plan.json). Give the directory that `raygen run` printed; "
            "to go on without one: --reuse ''"
        ) from None
    differences = _differences(other, plan)
    if differences:
        more = f"; and {len(differences) - 4} more" if len(differences) > 4 else ""
        raise ConfigError(
            f"execution.reuse: {found.uri} does not fit: {'; '.join(differences[:4])}{more}. {REMEDY}"
        )
    finished = [each for each in retry_prefixes(found) if found.exists(f"{each}{MANIFEST_KEY}")]
    return Reuse(found.uri, storage, tuple(reversed(finished)))


def _differences(before: Plan, now: Plan) -> list[str]:
    """Say in which rows and chunks two plans differ: what was, and what is now. Empty: they are the same."""
    keyed = _settings(now)["source"]["key"] is not None
    inputs = [[(each.digest, None if keyed else each.name) for each in plan.inputs] for plan in (before, now)]
    same_ids = _ids(before) == _ids(now)
    if same_ids and inputs[0] == inputs[1] and before.chunks == now.chunks:
        return []
    found = changed_keys(_settings(before), _settings(now))
    was, here = {each.uri: each.digest for each in before.inputs}, {i.uri: i.digest for i in now.inputs}
    changed = [uri for uri in here if uri in was and here[uri] != was[uri]]
    found += [f"input {uri} has changed" for uri in changed]
    if set(inputs[0]) != set(inputs[1]):
        found += [f"input {uri} is gone" for uri in was if uri not in here]
        found += [f"input {uri} is new" for uri in here if uri not in was]
    return found or ["its rows are cut into other chunks, or its inputs come in another order"]


def _ids(plan: Plan) -> tuple[Any, Any]:
    source = _settings(plan)["source"]
    return source["format"], source["key"]


def _settings(plan: Plan) -> dict[str, Any]:
    """The settings that decide which rows there are, what they are called, and how they are cut."""
    source: dict[str, Any] = plan.identity.get("source", {})
    chosen = {name: source.get(name) for name in ("format", "key", "max_rows")}
    return {"source": chosen, "sink": {"chunk_rows": plan.identity.get("sink", {}).get("chunk_rows")}}
