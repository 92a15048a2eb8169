"""Verify a run: every digest, one outcome for every input row, and a share of the rows generated again."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa

from raygen.data.sources import open_source
from raygen.data.sources.base import ROW_ID
from raygen.data.sources.unique import UniqueIds
from raygen.errors import (
    ChunkIntegrityError,
    ConfigError,
    CorruptDataError,
    KeyNotFoundError,
    RaygenError,
)
from raygen.formatting import count
from raygen.messages import Say, sayer
from raygen.program.job import Job
from raygen.review.replay import SHOWN, replay_rows
from raygen.review.show import chunks_of, merged_of
from raygen.runs.commit import Commit, digest_of_ids, read_commit, read_data
from raygen.runs.duplicate_finder import find_duplicates
from raygen.runs.duplicates import deduplication_of, per_chunk, read_duplicates
from raygen.runs.enough import goal_of
from raygen.runs.manifest import MANIFEST_KEY
from raygen.runs.media import media_problems
from raygen.runs.outcome import STATUSES
from raygen.runs.plan import Plan
from raygen.runs.retries import read_merged
from raygen.storage import Store, open_store

READERS = 16  # commits read at once


@dataclass
class Verification:
    run: str
    finished: bool
    chunks: int = 0  # checked
    rows: int = 0  # outcomes found
    rows_planned: int = 0
    source_checked: bool = False  # were the row ids compared with the source's?
    replayed: int = 0  # rows generated again
    differing: int = 0  # of them, rows whose samples came out otherwise
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.problems and not self.differing

    def as_dict(self) -> dict[str, Any]:
        return {"ok": self.ok, **asdict(self)}

    def lines(self) -> list[str]:
        found = [
            f"{count(self.rows, 'outcome')} of {count(self.rows_planned, 'row')} in {count(self.chunks, 'chunk')}: "
            + ("sound" if not self.problems else "NOT SOUND")
        ]
        if self.replayed or self.differing:
            found.append(f"replayed {count(self.replayed, 'row')}: {self.differing:,} differ")
        return [
            *found,
            *(f"  problem: {each}" for each in self.problems[:SHOWN]),
            *(f"  note: {each}" for each in self.notes),
        ]


def parse_share(text: str) -> float:
    """`5%` or `0.05`. Raises ConfigError."""
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = -1
    if not 0 <= share <= 1:
        raise ConfigError(f"--replay {text!r}: give a share of the rows, such as 1% or 0.01")
    return share


def verify_run(run_uri: str, replay: str = "0", say: Say | None = None) -> Verification:
    """Check a run. What is wrong is listed, not raised. Raises UserError: no run there."""
    share = parse_share(replay)
    say = say or sayer(run=run_uri)
    store = open_store(run_uri)
    chunks = list(chunks_of(store))
    plan = Plan.load(store)
    found = Verification(store.uri, store.exists(MANIFEST_KEY), rows_planned=plan.rows)
    if found.finished:
        _leave_out_unneeded(found, store, plan, chunks)
    if not found.finished:
        found.notes.append("not finished: only what is committed was checked")
    else:
        _against_commits(found, chunks)
    job = Job.model_validate(plan.job)
    tables: dict[int, pa.Table] = {}
    with UniqueIds() as unique:
        for where, commit in chunks:
            try:
                table = read_data(where, commit)
            except (CorruptDataError, KeyNotFoundError) as error:
                found.problems.append(str(error))
                continue
            found.problems += media_problems(where, commit, table)
            found.chunks += 1
            found.rows += table.num_rows
            if (
                table.num_rows != plan.chunks[commit.chunk].rows
                or digest_of_ids(table.column("row_id")) != commit.ids
            ):
                found.problems.append(f"chunk {commit.chunk}: not the rows that were planned")
            counts = dict.fromkeys(STATUSES, 0)
            for each in pa.compute.value_counts(table.column("status")).to_pylist():
                counts[each["values"]] = each["counts"]
            if counts != commit.counts:
                found.problems.append(f"chunk {commit.chunk}: counts by status are not those of its commit")
            unique.add(
                table.column("row_id").combine_chunks(), 0, range(found.rows - table.num_rows, found.rows)
            )
            if share:
                tables[commit.chunk] = table.filter(_chosen(table.column("row_id"), share))
        repeated, examples = unique.duplicates()
        if repeated:
            found.problems.append(
                f"{repeated:,} row ids have more than one outcome, such as {examples[0][0]!r}"
            )
    if found.finished and found.rows != found.rows_planned:
        found.problems.append(f"{count(found.rows, 'outcome')} for {count(found.rows_planned, 'row')}")
    if found.finished:
        _against_duplicates(found, store)
    _against_source(found, plan, job, {commit.chunk: commit.ids for _, commit in chunks})
    if share:
        replay_rows(found, plan, job, tables, say)
    return found


def _leave_out_unneeded(
    found: Verification, found_in: Store, plan: Plan, chunks: list[tuple[Store, Commit]]
) -> None:
    """Find chunks that are missing: a run that has reached its target may leave chunks out, and no other run may."""
    merged = merged_of(found_in)
    told = merged.duplicates if merged is not None else None
    goal = goal_of(plan, lambda commits: told[1].rows if told is not None else 0)
    goal.add(commit for _, commit in chunks)
    if not goal.reached:
        return
    found.rows_planned = sum(plan.chunks[commit.chunk].rows for _, commit in chunks)
    if spared := plan.rows - found.rows_planned:
        found.notes.append(f"{count(spared, 'row was', 'rows were')} not needed: {goal.line}")


def _chosen(row_ids: pa.ChunkedArray, share: float) -> pa.Array:
    """Pick rows by the hash of their id: the same ones every time."""
    limit = int(share * 2**32)
    return pa.array(
        [
            int.from_bytes(hashlib.blake2b(i.encode(), digest_size=4).digest(), "big") < limit
            for i in row_ids.to_pylist()
        ],
        pa.bool_(),
    )


def _against_commits(found: Verification, chunks: list[tuple[Store, Commit]]) -> None:
    """Compare a finished run's manifest with the commits that it repeats."""

    def problem(place: tuple[Store, Commit]) -> str | None:
        where, commit = place
        try:
            same = read_commit(where, commit.chunk) == commit
        except (CorruptDataError, KeyNotFoundError) as error:
            return str(error)
        return None if same else f"{where.uri_of(commit.key)} differs from the manifest"

    with ThreadPoolExecutor(READERS) as pool:
        found.problems += filter(None, pool.map(problem, chunks))


def _against_duplicates(found: Verification, store: Store) -> None:
    """Find the duplicates again: are they those that the manifest refers to, and does it count them?"""
    merged = read_merged(store)
    config = deduplication_of(merged.plan)
    if config is None and merged.duplicates is None:
        return
    if config is None or merged.duplicates is None:
        found.problems.append("the manifest and the job do not agree on whether duplicates are looked for")
        return
    where, told = merged.duplicates
    try:
        standing = read_duplicates(where, told)
        if not standing.equals(find_duplicates(merged.chunks, config)):
            found.problems.append(f"{where.uri_of(told.data)}: other rows are duplicates than it says")
        if (told.rows, told.chunks) != (standing.num_rows, per_chunk(standing)):
            found.problems.append(f"{where.uri_of(told.data)}: the manifest counts other duplicates")
        if not merged.retries and merged.manifest.rows != merged.rows:
            found.problems.append("the manifest's counts by status are not those of its chunks")
    except (CorruptDataError, KeyNotFoundError, ChunkIntegrityError) as error:
        if str(error) not in found.problems:  # a chunk that cannot be read was told already
            found.problems.append(str(error))


def _against_source(found: Verification, plan: Plan, job: Job, ids: dict[int, str]) -> None:
    """Read the source's row ids again: is there an outcome for each of them, in its place?"""
    chunks = sorted(ids)
    try:
        columns = [job.source.key] if job.source.key else []
        tables = open_source(job.source).read(plan.inputs, [plan.chunks[chunk] for chunk in chunks], columns)
        for chunk, table in zip(chunks, tables, strict=True):
            if digest_of_ids(table.column(ROW_ID)) != ids[chunk]:
                found.problems.append(f"chunk {chunk}: its outcomes are not those of the source's rows")
        found.source_checked = True
    except RaygenError as error:
        found.notes.append(f"the source could not be compared: {error}")
