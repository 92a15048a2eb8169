"""Retries: child runs that generate a finished run's failed rows again.

A retry lives in `retries/<number>/` of its parent, laid out like any run. Its chunks are the parent's chunks that had
failed rows; its data object for a chunk holds the whole chunk: the failed rows' new outcomes, the others' as they were.
So the merged view of a run is simply, for each chunk, the newest finished retry's object.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pyarrow.compute as pc

from raygen.config import Job
from raygen.errors import CorruptDataError, KeyNotFoundError, UserError
from raygen.runs.commit import Commit, read_data
from raygen.runs.manifest import MANIFEST_KEY, Manifest, Totals
from raygen.runs.outcome import FAILED
from raygen.runs.plan import PLAN_KEY, Plan, check_resume
from raygen.storage import Store

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

    @property
    def rows(self) -> dict[str, int]:
        return Totals(commit for _, commit in self.chunks).rows

    @property
    def tokens(self) -> dict[str, int]:
        """Spent altogether, in the run and in its retries (a retried row costs twice)."""
        return Totals(commit for _, commit in self.chunks).tokens

    @property
    def calls(self) -> dict[str, int]:
        """To engines, in the run and in its retries: reused, computed."""
        return Totals(commit for _, commit in self.chunks).calls

    def tables(self) -> Iterator[Any]:
        """Yield every chunk's outcomes, each checked against its digest. Raises CorruptDataError."""
        for store, commit in self.chunks:
            yield read_data(store, commit)


def read_merged(store: Store) -> Merged:
    """Raises KeyNotFoundError while the run itself is unfinished, CorruptDataError."""
    manifest = Manifest.load(store)
    plan = Plan.load(store)
    _check_belongs(store, manifest, plan)
    chunks = {commit.chunk: (store, commit) for commit in manifest.chunks}
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
    return Merged(plan, manifest, [chunks[chunk] for chunk in sorted(chunks)], finished)


def _check_belongs(store: Store, manifest: Manifest, plan: Plan) -> None:
    if manifest.run_id != plan.run_id:
        raise CorruptDataError(f"{store.uri_of(MANIFEST_KEY)} and the plan beside it are not of one run")


def plan_retry(store: Store, job: Job, models: dict[str, dict[str, Any]]) -> tuple[Store, Plan] | None:
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
        identity=job.identity(),
        config_hash=job.config_hash(),
        job=job.model_dump(mode="json", exclude_none=True),
        models=models,
        only=only,
        parent=merged.manifest.digest,
        attempt_limit_s=job.execution.attempt_limit_s,
    )
    return store.child(f"{RETRIES}{len(prefixes) + 1:04d}/"), plan
