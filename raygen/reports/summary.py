"""The summary of a finished run: gathers what the report shows, from the run directory alone."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import yaml

from raygen.engines.figures import merged_figures, missing_lines
from raygen.formatting import count
from raygen.reports.cards import ReportCards
from raygen.reports.data import (
    Chunks,
    ErrorCount,
    RankedRow,
    Rejection,
    ReportData,
    Rows,
    StepReport,
)
from raygen.reports.page import REPORT_KEY
from raygen.reports.step_counts import Ranking, RejectedRow, StepCounts, rejections_of, score_names
from raygen.runs.commit import Commit
from raygen.runs.enough import acceptance
from raygen.runs.outcome import ACCEPTED, FAILED, REJECTED
from raygen.runs.retries import Merged, read_merged
from raygen.runs.session import Session, read_sessions
from raygen.storage import Store

SAMPLE_CHUNKS = 16  # chunks looked at for lengths, finish reasons and what steps did


def write_report(store: Store) -> str:
    """Render the report into the run directory; returns its URI. Raises StorageError, CorruptDataError."""
    from raygen.reports.run import render_report

    store.put(REPORT_KEY, render_report(report_data(store)).encode("utf-8", "replace"))
    return store.uri_of(REPORT_KEY)


def report_data(store: Store) -> ReportData:
    """Collect all that a run's report shows."""
    merged = read_merged(store)
    sessions = read_sessions(store)
    cards = ReportCards(merged)
    samples = cards.spread()
    counts, ranking = StepCounts(cards.job), Ranking(score_names(cards.job))
    several = len(cards.job.steps) > 1
    lengths, finish_reasons, lineage = _generated(merged, counts if several else None, ranking)
    errors, rejections = _not_accepted(merged)
    reasons: Counter[str] = Counter()
    for each in rejections:
        reasons[each.reason] += each.count
    rows, chunks = merged.rows, merged.chunks
    recomputed = sum(session.overtaken for session in sessions)
    notes = (
        [f"{count(merged.retries, 'retry', 'retries')} of failed rows merged in."] if merged.retries else []
    )
    if (accept := acceptance(merged.plan, merged.rows, finished=True)) is not None:
        notes.append(f"{accept.line[0].upper()}{accept.line[1:]}.")
    engine = merged_figures(session.engine for session in sessions)
    notes += [f"{line[0].upper()}{line[1:]}." for line in missing_lines(engine)]
    return ReportData(
        title=merged.plan.name,
        run_uri=store.uri,
        state="finished",
        started=_iso(min((s.started_s for s in sessions), default=merged.plan.created_s)),
        finished=_iso(merged.manifest.finished_s),
        elapsed_s=sum(s.updated_s - s.started_s for s in sessions),
        sessions=len(sessions),
        rows=Rows(**rows),
        chunks=Chunks(len(merged.plan.chunks), len(chunks), recomputed),
        usage=merged.usage,
        calls=merged.calls,
        throughput=_throughput(sessions, merged.usage.lead),
        engine=engine,
        errors=errors,
        reasons=dict(reasons),
        lengths=lengths,
        finish_reasons=finish_reasons,
        samples=samples,
        manifest=_short_manifest(merged),
        models=lineage,
        job_yaml=yaml.safe_dump(merged.plan.job, sort_keys=False, allow_unicode=True),
        notes=notes,
        steps=_steps(merged, cards, counts, ranking, rejections) if several else None,
    )


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _throughput(sessions: list[Session], unit: str) -> list[tuple[float, int, float, float]]:
    """Return points over all sessions: time runs on between them, rows and amounts go on from where the last one stopped.

    Args:
        unit: in which amounts are; a session that counted in another one has made nothing in this.
    """
    if not sessions:
        return []
    began_s, rows, amount = sessions[0].started_s, 0, 0.0
    points: list[tuple[float, int, float, float]] = []
    for session in sessions:
        same = session.lead == unit
        points += [(s - began_s, rows + r, amount + n * same, full) for s, r, n, full in session.points]
        if session.points:
            rows, amount = points[-1][1], points[-1][2]
    return points


def _spread(merged: Merged) -> list[tuple[Store, Commit]]:
    """Choose a few chunks spread over the run: what is counted in them stands for the rest."""
    step = max(1, len(merged.chunks) // SAMPLE_CHUNKS)
    return merged.chunks[::step][:SAMPLE_CHUNKS]


def _generated(
    merged: Merged, counts: StepCounts | None, ranking: Ranking
) -> tuple[list[int], dict[str, int], list[dict[str, Any]]]:
    """Look at a few chunks: lengths and finish reasons of their samples, the models' lineage; count steps, rank rows."""
    lengths: list[int] = []
    finish_reasons: Counter[str] = Counter()
    lineage: list[dict[str, Any]] = []
    for chunk, (store, commit) in enumerate(_spread(merged)):
        table = merged.read(store, commit)
        samples = table.column("samples").combine_chunks().flatten()
        lengths += [n for n in samples.field("usage").field("output_tokens").to_pylist() if n is not None]
        finish_reasons.update(r for r in samples.field("finish_reason").to_pylist() if r is not None)
        if not lineage and table.num_rows:
            lineage = table.column("lineage")[0].as_py()["models"]
        if counts is not None:
            counts.add(table)
            ranking.add(chunk, table)
    return lengths, dict(finish_reasons), lineage


def _not_accepted(merged: Merged) -> tuple[list[ErrorCount], list[Rejection]]:
    """Count errors and rejections, reading only the chunks that have any."""
    errors: dict[tuple[str, str | None], ErrorCount] = {}
    counts: Counter[tuple[str, str | None]] = Counter()
    rejected: Counter[tuple[str | None, str]] = Counter()
    first: dict[tuple[str | None, str], RejectedRow] = {}
    for store, commit in merged.chunks:
        counted = merged.counts(commit)
        if not counted[FAILED] and not counted[REJECTED]:
            continue
        table = merged.read(store, commit)
        for samples, row in rejections_of(table):
            rejected[row.step, row.reason] += samples
            first.setdefault((row.step, row.reason), row)
        failed = table.select(["row_id", "error"]).filter(pa.compute.equal(table.column("status"), FAILED))
        for each in failed.to_pylist():
            error = each["error"]
            key = (error["code"], error["step"])
            counts[key] += 1
            errors.setdefault(
                key, ErrorCount(error["code"], error["step"], 1, each["row_id"], error["message"])
            )
    return [
        ErrorCount(e.code, e.step, counts[key], e.example_row_id, e.example_message)
        for key, e in errors.items()
    ], [Rejection(row.step, row.reason, rejected[key], row.row_id, row.finding) for key, row in first.items()]


def _steps(
    merged: Merged, cards: ReportCards, counts: StepCounts, ranking: Ranking, rejections: list[Rejection]
) -> StepReport:
    """Gather what the section about a program's steps shows."""
    ranked, rows = ranking.ranked(), []
    spread = _spread(merged)
    for what, score, chunk, place in ranked.rows if ranked is not None else ():
        store, commit = spread[chunk]
        rows += [
            RankedRow(what, score, row) for row in cards.cards(commit, merged.read(store, commit), [place])
        ]
    verdicts, notes = cards.verdicts()
    return StepReport(
        steps=counts.figures(),
        rows_counted=counts.rows,
        rows_total=merged.rows["total"],
        accepted_counted=counts.accepted,
        accepted_total=merged.rows[ACCEPTED],
        usage=merged.usage,
        reused=merged.calls.get("reused", 0) > 0,
        rejections=rejections,
        score=ranked.score if ranked is not None else None,
        scored=ranked.scored if ranked is not None else 0,
        ranked=rows,
        verdicts=verdicts,
        notes=notes,
    )


def _short_manifest(merged: Merged) -> dict[str, Any]:
    manifest = merged.manifest
    return {
        "run_id": manifest.run_id,
        "plan": manifest.plan,
        "config_hash": manifest.config_hash,
        "rows": manifest.rows,
        "usage": manifest.usage,
        "finished": _iso(manifest.finished_s),
        "raygen_version": manifest.raygen_version,
        "inputs": [
            {"uri": i.uri, "digest": i.digest, "size_bytes": i.size_bytes} for i in merged.plan.inputs[:50]
        ],
        "chunks": [{"data": c.data, "rows": c.rows, "sha256": c.sha256} for c in manifest.chunks[:50]],
        "chunks_total": len(manifest.chunks),
        **({"duplicates": manifest.duplicates.rows} if manifest.duplicates is not None else {}),
    }
