"""The summary of a finished run: gathers what the report shows, from the run directory alone."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import yaml

from raygen.config import Job
from raygen.data import open_source
from raygen.data.base import rows_of
from raygen.engines.figures import merged_figures
from raygen.errors import RaygenError, RowError
from raygen.pipeline.program import Program
from raygen.runs.commit import Commit, read_data
from raygen.runs.outcome import FAILED, REJECTED
from raygen.runs.retries import Merged, read_merged
from raygen.runs.session import Session, read_sessions
from raygen.storage import Store

if TYPE_CHECKING:
    from raygen.evaluate.report import ErrorCount, ReportData, SampleRow

REPORT_KEY = "report.html"
SAMPLE_CHUNKS = 16  # chunks looked at for lengths and finish reasons
CARDS = {"accepted": 8, "rejected": 4, "failed": 4}


def write_report(store: Store) -> str:
    """Render the report into the run directory; returns its URI. Raises StorageError, CorruptDataError."""
    from raygen.evaluate.report import render_report

    store.put(REPORT_KEY, render_report(report_data(store)).encode("utf-8", "replace"))
    return store.uri_of(REPORT_KEY)


def report_data(store: Store) -> ReportData:
    from raygen.evaluate import report

    merged = read_merged(store)
    sessions = read_sessions(store)
    lengths, finish_reasons, lineage = _generated(merged)
    errors, reasons = _not_accepted(merged)
    rows, chunks = merged.rows, merged.chunks
    recomputed = sum(session.overtaken for session in sessions)
    notes = [f"{merged.retries} retries of failed rows are merged in."] if merged.retries else []
    return report.ReportData(
        title=merged.plan.name,
        run_uri=store.uri,
        state="finished",
        started=_iso(min((s.started_s for s in sessions), default=merged.plan.created_s)),
        finished=_iso(merged.manifest.finished_s),
        elapsed_s=sum(s.updated_s - s.started_s for s in sessions),
        sessions=len(sessions),
        rows=report.Rows(**rows),
        chunks=report.Chunks(len(merged.plan.chunks), len(chunks), recomputed),
        tokens=report.Tokens(**merged.tokens),
        throughput=_throughput(sessions),
        engine=merged_figures(session.engine for session in sessions),
        errors=errors,
        reasons=reasons,
        lengths=lengths,
        finish_reasons=finish_reasons,
        samples=_cards(merged),
        manifest=_short_manifest(merged),
        models=lineage,
        job_yaml=yaml.safe_dump(merged.plan.job, sort_keys=False, allow_unicode=True),
        notes=notes,
    )


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _throughput(sessions: list[Session]) -> list[tuple[float, int, int, float]]:
    """Points over all sessions: time runs on between them, rows and tokens go on from where the last one stopped."""
    if not sessions:
        return []
    began_s, rows, tokens = sessions[0].started_s, 0, 0
    points: list[tuple[float, int, int, float]] = []
    for session in sessions:
        points += [(s - began_s, rows + r, tokens + t, occupancy) for s, r, t, occupancy in session.points]
        if session.points:
            rows, tokens = points[-1][1], points[-1][2]
    return points


def _generated(merged: Merged) -> tuple[list[int], dict[str, int], list[dict[str, Any]]]:
    """Lengths and finish reasons of the samples in a few chunks spread over the run, and the models' lineage."""
    lengths: list[int] = []
    finish_reasons: Counter[str] = Counter()
    lineage: list[dict[str, Any]] = []
    step = max(1, len(merged.chunks) // SAMPLE_CHUNKS)
    for store, commit in merged.chunks[::step][:SAMPLE_CHUNKS]:
        table = read_data(store, commit)
        samples = table.column("samples").combine_chunks().flatten()
        lengths += [n for n in samples.field("usage").field("output_tokens").to_pylist() if n is not None]
        finish_reasons.update(r for r in samples.field("finish_reason").to_pylist() if r is not None)
        if not lineage and table.num_rows:
            lineage = table.column("lineage")[0].as_py()["models"]
    return lengths, dict(finish_reasons), lineage


def _not_accepted(merged: Merged) -> tuple[list[ErrorCount], dict[str, int]]:
    """Count errors and reasons, reading only the chunks whose commits say that there are any."""
    from raygen.evaluate.report import ErrorCount

    errors: dict[tuple[str, str | None], ErrorCount] = {}
    counts: Counter[tuple[str, str | None]] = Counter()
    reasons: Counter[str] = Counter()
    for store, commit in merged.chunks:
        if not commit.counts[FAILED] and not commit.counts[REJECTED]:
            continue
        table = read_data(store, commit).select(["row_id", "status", "reason", "error"])
        for row in table.filter(pa.compute.field("status") != "accepted").to_pylist():
            if row["status"] == REJECTED:
                reasons[row["reason"]] += 1
                continue
            error = row["error"]
            key = (error["code"], error["step"])
            counts[key] += 1
            errors.setdefault(
                key, ErrorCount(error["code"], error["step"], 1, row["row_id"], error["message"])
            )
    return [
        ErrorCount(e.code, e.step, counts[key], e.example_row_id, e.example_message)
        for key, e in errors.items()
    ], dict(reasons)


def _cards(merged: Merged) -> list[SampleRow]:
    """A few rows of every status, with the inputs read again from the source when it is still there."""
    cards: list[SampleRow] = []
    for status, wanted in CARDS.items():
        having = [(store, commit) for store, commit in merged.chunks if commit.counts[status]]
        step = max(1, len(having) // wanted)
        spread = having[::step]
        each = max(1, -(-wanted // max(1, len(spread))))
        found = itertools.chain.from_iterable(_cards_of(merged, *place, status, each) for place in spread)
        cards += itertools.islice(found, wanted)
    return cards


def _cards_of(merged: Merged, store: Store, commit: Commit, status: str, limit: int) -> Iterator[SampleRow]:
    from raygen.evaluate.report import SampleRow

    rows = read_data(store, commit).to_pylist()
    inputs = _inputs(merged, commit.chunk)
    program = Program(Job.model_validate(merged.plan.job))
    chosen = [n for n, row in enumerate(rows) if row["status"] == status]
    for number in chosen[:: max(1, len(chosen) // limit)][:limit]:
        row, read = rows[number], inputs[number] if inputs else {}
        names = {**read, **dict(row["variables"])}
        try:
            prompt = (
                str(program.first.request(row["row_id"], names).messages[-1]["content"]) if read else None
            )
        except RowError:
            prompt = None
        outputs = [(s["text"], s["finish_reason"], s["seed"]) for s in row["samples"]]
        error = (row["error"]["code"], row["error"]["message"]) if row["error"] else None
        yield SampleRow(row["row_id"], status, row["reason"], read, prompt, outputs, error)


def _inputs(merged: Merged, chunk: int) -> list[dict[str, Any]]:
    job = Job.model_validate(merged.plan.job)
    try:
        reader = open_source(job.source)
        table = next(iter(reader.read(merged.plan.inputs, [merged.plan.chunks[chunk]], Program(job).columns)))
    except (RaygenError, StopIteration):
        return []
    return list(rows_of(table))


def _short_manifest(merged: Merged) -> dict[str, Any]:
    manifest = merged.manifest
    return {
        "run_id": manifest.run_id,
        "plan": manifest.plan,
        "config_hash": manifest.config_hash,
        "rows": manifest.rows,
        "tokens": manifest.tokens,
        "finished": _iso(manifest.finished_s),
        "raygen_version": manifest.raygen_version,
        "inputs": [
            {"uri": i.uri, "digest": i.digest, "size_bytes": i.size_bytes} for i in merged.plan.inputs[:50]
        ],
        "chunks": [{"data": c.data, "rows": c.rows, "sha256": c.sha256} for c in manifest.chunks[:50]],
        "chunks_total": len(manifest.chunks),
    }
