"""Retries: child runs that generate a finished run's failed rows again.

A retry lives in `retries/<number>/` of its parent, laid out like any run. Its chunks are the parent's chunks that had
failed rows; its data object for a chunk holds the whole chunk: the failed rows' new outcomes, the others' as they were.
So the merged view of a run is simply, for each chunk, the newest finished retry's object.

Duplicates are found anew by every retry, over the merged run: as if the rows had not failed. So a row that was accepted
may turn out to be a duplicate of an earlier one that has only now been generated.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from raygen.errors import CorruptDataError, KeyNotFoundError, UserError
from raygen.runs.commit import Commit, read_data
from raygen.runs.duplicates import SCHEMA as DUPLICATES
from raygen.runs.duplicates import Duplicates, corrected, mark, of_chunk, read_duplicates
from raygen.runs.job_record import JobRecord
from raygen.runs.manifest import MANIFEST_KEY, Manifest, Totals
from raygen.runs.outcome import FAILED
from raygen.runs.plan import PLAN_KEY, Plan, check_resume
from raygen.storage import Store
from raygen.usage import Usage

RETRIES = "retries/"


def retry_prefixes(store: Store) -> list[str]:
    """Keys of a run's retries, oldest first: `retries/0001/`, ... Numbers have no gaps: plans are never removed."""
    found: list[str] = []
    while store.exists(f"{RETRIES}{len(found) + 1:04d}/{PLAN_KEY}"):
        found.append(f"{RETRIES}{len(found) + 1:04d}/")
    return found


@dataclass(frozen=True)
class Merged:
    """A finished run with its finished retries: where each chunk's outcomes are now."""

    plan: Plan
    manifest: Manifest
    chunks: list[tuple[Store, Commit]]  # in the order of the chunks
    retries: int
    duplicates: tuple[Store, Duplicates] | None = None  # as the newest manifest has them

    @property
    def rows(self) -> dict[str, int]:
        rows = Totals(commit for _, commit in self.chunks).rows
        return rows if self.duplicates is None else corrected(rows, self.duplicates[1].rows)

    @property
    def usage(self) -> Usage:
        """Spent altogether, in the run and in its retries (a retried row costs twice)."""
        return Totals(commit for _, commit in self.chunks).usage

    @property
    def calls(self) -> dict[str, int]:
        """To engines, in the run and in its retries: reused, computed."""
        return Totals(commit for _, commit in self.chunks).calls

    def tables(self) -> Iterator[Any]:
        """Yield every chunk's outcomes, each checked against its digest. Raises CorruptDataError."""
        for store, commit in self.chunks:
            yield self.read(store, commit)

    def read(self, store: Store, commit: Commit) -> pa.Table:
        """Return a chunk's outcomes as readers see them: duplicates are rejected. Raises CorruptDataError."""
        return self.marked(commit.chunk, read_data(store, commit))

    def counts(self, commit: Commit) -> dict[str, int]:
        """Return a chunk's rows by status, as readers see them."""
        return corrected(commit.counts, self._duplicates_in.get(commit.chunk, 0))

    def marked(self, chunk: int, table: pa.Table) -> pa.Table:
        return mark(table, self.duplicates_of(chunk), self.deduplicate_step)

    def duplicates_of(self, chunk: int) -> pa.Table:
        """Return the duplicates in a chunk (duplicates.SCHEMA)."""
        return of_chunk(self._table, chunk) if chunk in self._duplicates_in else DUPLICATES.empty_table()

    @property
    def deduplicate_step(self) -> str:
        """The name of the step that looks for duplicates, if one does: the last one, and the only one of its kind."""
        steps = self.plan.job.get("steps") or [{}]
        return steps[-1].get("name") or "deduplicate"

    @cached_property
    def _duplicates_in(self) -> dict[int, int]:
        return {} if self.duplicates is None else {each[0]: each[1] for each in self.duplicates[1].chunks}

    @cached_property
    def _table(self) -> pa.Table:
        assert self.duplicates is not None
        return read_duplicates(*self.duplicates)


def read_merged(store: Store) -> Merged:
    """Read a run with its retries merged in. Raises KeyNotFoundError while the run itself is unfinished, CorruptDataError."""
    manifest = Manifest.load(store)
    plan = Plan.load(store)
    _check_belongs(store, manifest, plan)
    chunks = {commit.chunk: (store, commit) for commit in manifest.chunks}
    duplicates = (store, manifest.duplicates) if manifest.duplicates is not None else None
    finished = 0
    for prefix in retry_prefixes(store):
        child = store.child(prefix)
        try:
            newer = Manifest.load(child)
        except KeyNotFoundError:
            continue
        finished += 1
        _check_belongs(child, newer, Plan.load(child))
        chunks.update({commit.chunk: (child, commit) for commit in newer.chunks})
        duplicates = (child, newer.duplicates) if newer.duplicates is not None else duplicates
    return Merged(plan, manifest, [chunks[chunk] for chunk in sorted(chunks)], finished, duplicates)


def _check_belongs(store: Store, manifest: Manifest, plan: Plan) -> None:
    if manifest.run_id != plan.run_id:
        raise CorruptDataError(f"{store.uri_of(MANIFEST_KEY)} and the plan beside it are not of one run")


def plan_retry(store: Store, job: JobRecord, models: dict[str, dict[str, Any]]) -> tuple[Store, Plan] | None:
    """Describe a retry of the rows that failed, or go on with an unfinished one. None: no row failed.

    Raises:
        UserError: the run is not finished.
        RunConflictError: another job, with other models or steps, began the unfinished retry.
    """
    prefixes = retry_prefixes(store)
    if prefixes:
        child = store.child(prefixes[-1])
        if not child.exists(MANIFEST_KEY):
            begun = Plan.load(child)
            check_resume(begun, job, models, child.uri)
            return child, begun
    try:
        merged = read_merged(store)
    except KeyNotFoundError:
        raise UserError(
            f"{store.uri}: not finished; finish it with `raygen run` before retrying its failed rows"
        ) from None
    only: dict[int, list[int]] = {}
    for where, commit in merged.chunks:
        if commit.counts[FAILED]:
            statuses = read_data(where, commit).column("status")
            only[commit.chunk] = pc.indices_nonzero(pc.equal(statuses, FAILED)).to_pylist()
    if not only:
        return None
    plan = replace(
        merged.plan,
        run_id=uuid.uuid4().hex[:16],
        created_s=time.time(),
        identity=job.identity,
        config_hash=job.config_hash,
        job=job.dump,
        models=models,
        only=only,
        parent=merged.manifest.digest,
        attempt_limit_s=job.attempt_limit_s,
    )
    return store.child(f"{RETRIES}{len(prefixes) + 1:04d}/"), plan
