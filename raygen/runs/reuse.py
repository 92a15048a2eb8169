"""Reuse: another run of these rows, or of some of them, whose recorded answers are taken over instead of asking models again.

Answers are found by what was asked of which weights (Calls.key), so nothing that does not hold any more is ever taken.
Seeds hang on row ids: an answer is found where the row has the id that it had. In which chunks is settled before work.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pyarrow as pa

from raygen.config.compare import changed_keys, first_of
from raygen.config.source import Source, StorageOptions
from raygen.data.sources import open_source
from raygen.errors import ConfigError, CorruptDataError, KeyNotFoundError, UserError
from raygen.runs.commit import (
    Commit,
    committed_chunks,
    digest_of_ids,
    read_commit,
    read_commits,
    read_ids,
)
from raygen.runs.manifest import MANIFEST_KEY
from raygen.runs.overlap import Overlap, find_overlap
from raygen.runs.plan import Plan
from raygen.runs.retries import retry_prefixes
from raygen.storage import Store, open_store

REMEDY = "Give a run of these rows, or leave --reuse out"
READERS = 16  # chunks whose ids are read at once


@dataclass(frozen=True)
class Reuse:
    """Where the outcomes of another run are; small enough to send with each task."""

    uri: str
    storage: StorageOptions
    retries: tuple[str, ...] = ()  # prefixes of its finished retries, newest first

    def place(self, chunk: int) -> tuple[Store, Commit] | None:
        """Return where its outcomes of a chunk are; None while it has committed none.

        Raises:
            CorruptDataError: the commit is damaged.
            StorageError: the store does not answer.
        """
        top = open_store(self.uri, self.storage)
        for prefix in (*self.retries, ""):
            store = top.child(prefix) if prefix else top
            try:
                return store, read_commit(store, chunk)
            except KeyNotFoundError:
                continue
        return None


def find_reuse(uri: str, plan: Plan, store: Store, source: Source) -> tuple[Reuse, Overlap | None]:
    """Look at the run that is to be reused.

    Args:
        plan, store: of the run that reuses it. source: its own.

    Returns:
        The run; and where its rows are, unless they are the same rows in the same chunks.

    Raises:
        UserError: there is no run; it is this one; or it has none of these rows: what differs is named.
    """
    found = open_store(uri, source.storage)
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
    finished = [each for each in retry_prefixes(found) if found.exists(f"{each}{MANIFEST_KEY}")]
    reuse = Reuse(found.uri, source.storage, tuple(reversed(finished)))
    differences = _differences(other, plan)
    if not differences:
        return reuse, None
    unread: list[str] = []
    try:
        overlap = find_overlap(
            _ids_there(found, unread), enumerate(open_source(source).ids(plan.inputs, plan.chunks))
        )
    except ConfigError as error:
        raise ConfigError(f"execution.reuse: {found.uri} does not fit: {error}. {REMEDY}") from None
    if plan.rows and not overlap.rows:
        raise ConfigError(
            f"execution.reuse: {found.uri} does not fit: it has no outcome of any of these {plan.rows:,} rows, going by "
            f"their row ids: {first_of(differences)}. {REMEDY}"
        )
    overlap.unread = unread
    return reuse, overlap


def _ids_there(store: Store, unread: list[str]) -> Iterator[tuple[int, pa.Array]]:
    """Yield the row ids of every committed chunk; none of one that cannot be read, which is added to `unread`."""

    def ids_of(commit: Commit) -> pa.Array:
        try:
            ids = read_ids(store, commit)
            if digest_of_ids(ids) == commit.ids:
                return ids
            unread.append(f"chunk {commit.chunk}: {commit.data} has other row ids than were committed")
        except (CorruptDataError, KeyNotFoundError) as error:
            unread.append(f"chunk {commit.chunk}: {error}")
        return pa.array([], pa.string())

    commits = read_commits(store, sorted(committed_chunks(store)))
    with ThreadPoolExecutor(READERS) as pool:
        while some := list(islice(commits, 4 * READERS)):
            yield from zip((each.chunk for each in some), pool.map(ids_of, some), strict=True)


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
    """Return the settings that decide which rows there are, what they are called, and how they are cut."""
    source: dict[str, Any] = plan.identity.get("source", {})
    chosen = {name: source.get(name) for name in ("format", "key", "max_rows")}
    return {"source": chosen, "sink": {"chunk_rows": plan.identity.get("sink", {}).get("chunk_rows")}}
