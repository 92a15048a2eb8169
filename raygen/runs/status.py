"""Status: where a run stands, told from its directory alone."""

from __future__ import annotations

import os
import socket
import time
from dataclasses import asdict, dataclass
from typing import Any

from raygen.errors import KeyNotFoundError, UserError
from raygen.runs.commit import committed_chunks, read_commits
from raygen.runs.enough import acceptance
from raygen.runs.manifest import MANIFEST_KEY, Totals
from raygen.runs.pace import pace_of
from raygen.runs.plan import Plan
from raygen.runs.retries import read_merged, retry_prefixes
from raygen.runs.session import LOST_S, Session, read_sessions
from raygen.storage import Store
from raygen.usage import Usage, total


@dataclass(frozen=True)
class Status:
    name: str
    run: str
    state: str  # planned | running | interrupted | finished; of a batch's run that goes on no more: cancelled | expired
    chunks: dict[str, int]  # total, committed
    rows: dict[str, int]  # total, accepted, rejected, failed
    usage: Usage  # like the rows, of committed chunks
    calls: dict[str, int]  # to engines: reused, computed
    reuse: str | None  # the run that is reused
    accept: dict[str, int | None] | None  # wanted, accepted, rows_not_needed; None: no number is wanted
    elapsed_s: float  # time that drivers spent on it, over all sessions
    sessions: int
    retries: int
    rows_per_s: float | None
    eta_s: float | None
    occupancy: float | None
    note: str | None
    live: dict[str, Any] | None = None  # what the sessions at work have done, committed or not: rows, usage
    silent: tuple[str, ...] = ()  # which endpoints answer nobody now, in words

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def is_alive(session: Session) -> bool:
    """Is this session's driver still at work? On this machine its process is looked for; elsewhere its last sign counts."""
    if session.state != "running" or time.time() - session.updated_s > LOST_S:
        return False
    if session.host == socket.gethostname():
        try:
            os.kill(session.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
    return True


def planned(store: Store) -> Plan:
    """Return a run's plan. Raises UserError: the directory holds no run."""
    try:
        return Plan.load(store)
    except KeyNotFoundError:
        raise UserError(
            f"{store.uri}: no run here (no plan.json). Give the directory that `raygen run` printed"
        ) from None


def read_status(store: Store) -> Status:
    """Read where a run stands. Raises UserError when there is no run."""
    plan = planned(store)
    sessions = read_sessions(store)
    retries = len(retry_prefixes(store))
    rows_per_s = eta_s = occupancy = live = None
    silent: tuple[str, ...] = ()
    if store.exists(MANIFEST_KEY):
        merged = read_merged(store)
        rows, usage, calls = merged.rows, merged.usage, merged.calls
        committed, state = len(merged.chunks), "finished"
    else:
        done = committed_chunks(store)
        sums = Totals(read_commits(store, sorted(done)))
        rows, usage, calls = {**sums.rows, "total": plan.rows}, sums.usage, sums.calls
        committed = len(done)
        alive = [session for session in sessions if is_alive(session)]
        state = "running" if alive else "interrupted" if sessions or done else "planned"
        if alive:
            live = {
                "rows": sum(sum(each.rows.values()) for each in alive),
                "usage": total(each.usage for each in alive),
            }
            silent = tuple(line for each in alive for line in each.silent)
        if alive and alive[-1].points:
            latest = alive[-1]
            occupancy = latest.points[-1][3]
            pace = pace_of(latest.points, latest.engine_start_s or latest.started_s, latest.updated_s)
            rows_per_s = None if pace is None else pace.per_s
            if latest.eta_s is not None:
                eta_s = max(0.0, latest.eta_s - (time.time() - latest.updated_s))
    accept = acceptance(plan, rows, state == "finished")
    return Status(
        name=plan.name,
        run=store.uri,
        state=state,
        chunks={"total": len(plan.chunks), "committed": committed},
        rows=rows,
        usage=usage,
        calls=calls,
        reuse=plan.job.get("execution", {}).get("reuse") or None,
        accept=None if accept is None else asdict(accept),
        elapsed_s=round(sum(max(0.0, each.updated_s - each.started_s) for each in sessions), 1),
        sessions=len(sessions),
        retries=retries,
        rows_per_s=None if rows_per_s is None else round(rows_per_s, 2),
        eta_s=None if eta_s is None else round(eta_s, 1),
        occupancy=occupancy,
        note=sessions[-1].note if sessions else None,
        live=live,
        silent=silent,
    )
