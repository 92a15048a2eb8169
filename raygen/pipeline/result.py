"""The result of a session: how a run stands after it."""

from __future__ import annotations

from dataclasses import dataclass, field

from raygen.runs.commit import no_calls
from raygen.runs.enough import Acceptance
from raygen.usage import Usage


@dataclass(frozen=True)
class RunResult:
    """How a run stands after a session."""

    uri: str
    state: str  # finished | interrupted
    rows: dict[str, int]  # total, accepted, rejected, failed
    usage: Usage
    note: str | None
    report: str | None  # uri of the report
    calls: dict[str, int] = field(default_factory=no_calls)  # reused, computed
    acceptance: Acceptance | None = None  # of a run that wants a number of accepted rows
    too_many_failed: bool = False  # more than the job bears (`max_failed`)

    @property
    def exit_code(self) -> int:
        if self.too_many_failed:
            return 4
        if self.state != "finished":
            return 130
        return 3 if self.rows["failed"] else 0
