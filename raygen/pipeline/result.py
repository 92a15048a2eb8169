"""The result of a session: how a run stands after it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RunResult:
    """How a run stands after a session."""

    uri: str
    state: str  # finished | interrupted
    rows: dict[str, int]  # total, accepted, rejected, failed
    tokens: dict[str, int]  # prompt, output
    note: str | None
    report: str | None  # uri of the report

    @property
    def exit_code(self) -> int:
        if self.state != "finished":
            return 130
        return 3 if self.rows["failed"] else 0
