"""What the tests of runs are made of: a plan, outcomes, commits; and a store that fails as it is told."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Callable
from typing import Any

import pyarrow as pa

from raygen.config.sink import Sink
from raygen.config.source import Source
from raygen.data.sources.base import InputFile, Range
from raygen.errors import StorageError
from raygen.runs.commit import Attempt, Commit, commit_chunk, digest_of_ids
from raygen.runs.job_record import JobRecord
from raygen.runs.outcome import Outcome, outcome_table
from raygen.runs.plan import Plan
from raygen.runs.shelf import Shelf
from raygen.storage import Store
from raygen.usage import Usage
from tests.exactly_once.memory_store import MemoryStore

LINEAGE = {"models": [], "config_hash": "c", "run_seed": 0, "machine": "m", "ai_generated": True}
ROWS = 3
BESIDE = Sink(media="beside", chunk_bytes=2**16, max_sample_bytes=2**16)


def a_plan(chunks: int = 2, **changes: Any) -> Plan:
    plan = Plan(
        run_id="run",
        created_s=1.5,
        name="job",
        identity={"seed": 1},
        config_hash="c",
        job={},
        models={"m": {"ref": None, "digest": "echo:-"}},
        inputs=[InputFile("/in/a.jsonl", "a.jsonl", 10, "sha256:0", "10-1")],
        listing="l",
        chunks=[Range(0, n * ROWS, (n + 1) * ROWS, ROWS, n * ROWS) for n in range(chunks)],
        kept={},
        attempt_limit_s=100.0,
    )
    return dataclasses.replace(plan, **changes)


def a_job_record(**changes: Any) -> JobRecord:
    """Return what runs know of a job over keyed JSON Lines in `in`; keyword arguments replace fields."""
    source = Source.model_validate({"format": "jsonl", "uri": "in", "key": "id"})
    fields = {
        "name": "job",
        "source": source,
        "identity": {"seed": 7},
        "dump": {"seed": 7},
        "attempt_limit_s": 60.0,
    }
    return JobRecord(**{**fields, **changes})


def outcomes(chunk: int, statuses: str = "aaa", mark: str = "") -> pa.Table:
    """One row a letter: accepted, rejected or failed. `mark` makes the bytes differ."""
    made = []
    for number, letter in enumerate(statuses):
        row_id = f"r{chunk}-{number}"
        status = {"a": "accepted", "r": "rejected", "f": "failed"}[letter]
        error = {"code": "no_luck", "message": "no luck", "step": "generate"} if letter == "f" else None
        samples = [{"index": 0, "text": f"{row_id}{mark}"}] if letter == "a" else []
        made.append(Outcome(row_id, status, None if letter == "a" else "why", samples, [], error))
    return outcome_table(made, {**LINEAGE, "machine": f"m{mark}"}, {})


def put_chunk(
    store: Store, plan: Plan, chunk: int, statuses: str = "aaa", mark: str = "", **changes: Any
) -> tuple[Commit, bool]:
    """Commit a chunk's outcomes under a new attempt."""
    table = outcomes(chunk, statuses, mark)
    arguments: dict[str, Any] = {
        "ids": digest_of_ids(table.column("row_id")),
        "rows": table.num_rows,
        "attempt": Attempt(plan.attempt_limit_s, time.time()),
        "plan": plan.digest,
        "usage": Usage(prompt_tokens=5, output_tokens=2),
    }
    return commit_chunk(store, chunk, table, **{**arguments, **changes})


def a_medium(data: bytes, number: int = 0, media_type: str = "image/png") -> dict[str, Any]:
    """Return a sample that is a medium, as a program hands it to a shelf."""
    told = {
        "number": number,
        "step": "draw",
        "media_type": media_type,
        "width": 8,
        "height": 4,
        "seconds": None,
    }
    return {**told, "media": data, "size_bytes": len(data), "digest": hashlib.sha256(data).hexdigest()}


def put_media(
    store: Store, rows: list[list[bytes]], sink: Sink = BESIDE, plan: Plan | None = None, chunk: int = 0
) -> tuple[Commit, pa.Table]:
    """Commit a chunk whose rows have these media; return its commit and its outcomes as they were stored."""
    plan, attempt = plan or a_plan(), Attempt(100.0)
    made = [
        Outcome(
            f"r{chunk}-{place}",
            "accepted",
            samples=[a_medium(data, number) for number, data in enumerate(row)],
        )
        for place, row in enumerate(rows)
    ]
    with Shelf(store, chunk, attempt, sink) as shelf:
        for place, outcome in enumerate(made):
            shelf.take(place, outcome.row_id, outcome.samples)
        objects = shelf.close()
    table = outcome_table(made, LINEAGE, {})
    commit, _ = commit_chunk(
        store,
        chunk,
        table,
        ids=digest_of_ids(table.column("row_id")),
        rows=len(rows),
        attempt=attempt,
        plan=plan.digest,
        usage=Usage(),
        objects=objects,
    )
    return commit, table


class FailingStore(MemoryStore):
    """Does what `fails` returns instead: called with operation and key, it returns None, or the error to raise.

    `after` names operations that are done all the same before their error is raised.
    """

    def __init__(self, fails: Callable[[str, str], StorageError | None], after: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.fails, self.after = fails, after
        self.asked: list[str] = []

    def _maybe(self, operation: str, key: str, do: Callable[[], Any]) -> Any:
        self.asked.append(f"{operation} {key.split('/')[0]}")
        error = self.fails(operation, key)
        if error is not None and operation not in self.after:
            raise error
        result = do()
        if error is not None:
            raise error
        return result

    def get(self, key: str) -> bytes:
        data: bytes = self._maybe("get", key, lambda: super(FailingStore, self).get(key))
        return data

    def put(self, key: str, data: bytes) -> None:
        self._maybe("put", key, lambda: super(FailingStore, self).put(key, data))

    def put_if_absent(self, key: str, data: bytes) -> bool:
        done: bool = self._maybe(
            "put_if_absent", key, lambda: super(FailingStore, self).put_if_absent(key, data)
        )
        return done


def once(operation: str, error: StorageError, times: int = 1) -> Callable[[str, str], StorageError | None]:
    """Fail the first `times` of an operation."""
    left = [times]

    def fails(asked: str, key: str) -> StorageError | None:
        if asked != operation or not left[0]:
            return None
        left[0] -= 1
        return error

    return fails
