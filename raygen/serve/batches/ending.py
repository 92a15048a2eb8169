"""Ending: the one object that says how a batch ended. Whoever creates it settles all races; later commits do not count."""

from __future__ import annotations

import time
from typing import Any

from raygen.errors import KeyNotFoundError
from raygen.runs.commit import Commit, committed_chunks, read_commits
from raygen.runs.manifest import Totals
from raygen.runs.plan import Plan
from raygen.runs.retries import read_merged
from raygen.serve.batches.layout import KINDS
from raygen.serve.batches.objects import Objects
from raygen.serve.batches.record import COMPLETED, Record, counts_of
from raygen.serve.batches.results import pieces_of
from raygen.storage import Store


def settle_end(objects: Objects, record: Record, status: str, retry: int = 0) -> dict[str, Any]:
    """Write how a batch, or its n-th retry, ended; return the end that stands, which may be another worker's.

    Args:
        status: completed, expired or cancelled. Of a completed one all rows count, of others those committed until now.
    """
    place = record.place
    run = objects.store.child(place.run)
    counted = _merged(run) if status == COMPLETED or retry else _committed(run)
    sums = Totals(commit for _, commit in counted)
    commits = [(commit.chunk, prefix, commit.attempt) for prefix, commit in counted]
    sizes = dict.fromkeys(KINDS, 0)
    for kind, piece in pieces_of(run, commits, status):
        sizes[kind] += len(piece)
    end = {
        "batch": place.batch,
        "status": status,
        "model": (record.verdict or {}).get("model"),
        "commits": commits,
        "counts": counts_of((record.verdict or {}).get("rows", 0), sums),
        "usage": sums.usage,
        "bytes": sizes,
        "ended_s": time.time(),
        "planned_s": record.planned_s,
        "finalizing_s": (record.finalizing or {}).get("finalizing_s"),
        "cancelling_s": (record.cancel or {}).get("cancelling_s"),
        "result_lives_s": record.request["result_lives_s"],
    }
    standing = objects.settle(place.end(retry), end)
    objects.store.delete(place.marker(retry))
    return standing


def _merged(run: Store) -> list[tuple[str, Commit]]:
    """Return the commits of a finished run, retries merged in, each with where it is from the run's top."""
    top = f"{run.uri.rstrip('/')}/"
    return [
        (f"{store.uri}/".removeprefix(top).rstrip("/"), commit) for store, commit in read_merged(run).chunks
    ]


def _committed(run: Store) -> list[tuple[str, Commit]]:
    """Return what is committed of a run now."""
    try:
        planned = set(Plan.load(run).todo)
    except KeyNotFoundError:
        return []
    return [("", commit) for commit in read_commits(run, sorted(committed_chunks(run) & planned))]
