"""Status: where a run stands, told from its directory alone."""

from __future__ import annotations

import os
import socket
import time
from dataclasses import asdict, dataclass
from typing import Any

from raygen.errors import KeyNotFoundError, UserError
from raygen.runs.commit import committed_chunks, read_commits
from raygen.runs.manifest import MANIFEST_KEY, Totals
from raygen.runs.plan import Plan
from raygen.runs.retries import read_merged, retry_prefixes
from raygen.runs.session import LOST_S, Session, read_sessions
from raygen.storage import Store


@dataclass(frozen=True)
class Status:
    name: str
    run: str
    state: str  # planned | running | interrupted | finished
    chunks: dict[str, int]  # total, committed
    rows: dict[str, int]  # total, accepted, rejected, failed
    tokens: dict[str, int]  # prompt, output
    elapsed_s: float  # time that drivers spent on it, over all sessions
    sessions: int
    retries: int
    rows_per_s: float | None
    eta_s: float | None
    occupancy: float | None
    note: str | None

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


def read_status(store: Store) -> Status:
    """Raises UserError when there is no run."""
    try:
        plan = Plan.load(store)
    except KeyNotFoundError:
        raise UserError(
            f"{store.uri}: no run here (no plan.json). Give the directory that `raygen run` printed"
        ) from None
    sessions = read_sessions(store)
    retries = len(retry_prefixes(store))
    rows_per_s = eta_s = occupancy = None
    if store.exists(MANIFEST_KEY):
        merged = read_merged(store)
        rows, tokens, committed, state = merged.rows, merged.tokens, len(plan.chunks), "finished"
    else:
        done = committed_chunks(store)
        sums = Totals(read_commits(store, sorted(done)))
        rows, tokens, committed = {**sums.rows, "total": plan.rows}, sums.tokens, len(done)
        alive = [session for session in sessions if is_alive(session)]
        state = "running" if alive else "interrupted" if sessions or done else "planned"
        if alive and alive[-1].points:
            latest = alive[-1]
            last_s, last_rows, _, occupancy = latest.points[-1]
            first_s, first_rows = latest.started_s, 0
            if last_s > first_s and last_rows > first_rows:
                rows_per_s = (last_rows - first_rows) / (last_s - first_s)
                eta_s = (plan.rows - sum(rows[s] for s in ("accepted", "rejected", "failed"))) / rows_per_s
    return Status(
        name=plan.name,
        run=store.uri,
        state=state,
        chunks={"total": len(plan.chunks), "committed": committed},
        rows=rows,
        tokens=tokens,
        elapsed_s=round(sum(max(0.0, each.updated_s - each.started_s) for each in sessions), 1),
        sessions=len(sessions),
        retries=retries,
        rows_per_s=None if rows_per_s is None else round(rows_per_s, 2),
        eta_s=None if eta_s is None else round(eta_s, 1),
        occupancy=occupancy,
        note=sessions[-1].note if sessions else None,
    )
