"""A run's progress for people: as a line, as a panel, and what `raygen status` says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from raygen.engines.figures import kv_use, pool_figures, prefix_hit_rate
from raygen.engines.silence import silences
from raygen.errors import ConfigError
from raygen.formatting import count, duration
from raygen.pipeline.monitor import Progress
from raygen.pipeline.result import RunResult
from raygen.runs.enough import Acceptance
from raygen.runs.status import Status
from raygen.terminal import Display, fitting_display, progress_panel
from raygen.usage import Usage, unit_of

if TYPE_CHECKING:
    from rich.console import RenderableType


def make_display(quiet: bool = False) -> Display[Progress] | None:
    """Return what fits standard error; None when nothing is to be shown."""
    return fitting_display(summary, panel, quiet)


def summary(progress: Progress) -> str:
    """Return one line: rows by status, chunks, speed, occupancy, time left."""
    done = sum(progress.rows.values())
    parts = [
        f"{done:,}/{count(progress.rows_total, 'row')}",
        _fates(progress.rows),
        f"{progress.chunks[0]:,}/{count(progress.chunks[1], 'chunk')}",
        f"{_rate(progress.rows_per_s, 1)} rows/s",
        made_rate(progress),
    ]
    if progress.occupancy is not None:
        parts.append(f"engines {progress.occupancy:.0%} full")
    parts += engine_parts(progress)
    parts.append(f"ETA {duration(progress.eta_s, whole=True)}")
    return " · ".join([*silences(progress.engine), *parts])


def _fates(rows: Mapping[str, int]) -> str:
    return f"{rows['accepted']:,} accepted, {rows['rejected']:,} rejected, {rows['failed']:,} failed"


def _rate(per_s: float | None, digits: int = 0) -> str:
    """Return a rate for people. A slow one keeps two significant digits: 0.0 rows/s would be said of a run that moves."""
    if per_s is None:
        return "-"
    return f"{per_s:,.{digits}f}" if per_s >= 1 or not per_s else f"{per_s:.2g}"


def made_rate(progress: Progress) -> str:
    """Return how fast things are made, in the unit that leads: `120 tokens/s`, `3.1 images/s`."""
    return f"{_rate(progress.made_per_s)} {unit_of(progress.usage.lead).rate(short=True)}"


def engine_parts(progress: Progress) -> list[str]:
    """Return what engines say beyond their usage: only what is worth a place in the line."""
    figures, parts = progress.engine, []
    for name, (replicas, full) in pool_figures(figures).items():
        parts.append(f"{name} ×{replicas}" + ("" if full is None else f" {full:.0%} full"))
    if progress.prefill_per_s is not None:
        parts.append(f"prefill {progress.prefill_per_s:,.0f} tokens/s")
    if hit_rate := prefix_hit_rate(figures):
        parts.append(f"prefixes reused {hit_rate:.0%}")
    if waiting := figures.get("waiting"):
        parts.append(f"queue {waiting:,.0f}")
    for key, what in (("retries", "asked again"), ("refused_429", "refused (429)")):
        if times := figures.get(key):
            parts.append(f"{what} {times:,.0f} times")
    if (use := kv_use(figures)) is not None:
        parts.append(f"KV {use:.0%}")
    if preemptions := figures.get("preemptions"):
        parts.append(f"preemptions {preemptions:,.0f}")
    return parts


def panel(progress: Progress) -> RenderableType:
    """Return the progress as a panel."""
    from rich.table import Table
    from rich.text import Text

    done = sum(progress.rows.values())
    figures = Table.grid(padding=(0, 2))
    figures.add_row(
        Text(f"{progress.rows['accepted']:,} accepted", style="green"),
        Text(f"{progress.rows['rejected']:,} rejected", style="yellow"),
        Text(f"{progress.rows['failed']:,} failed", style="red" if progress.rows["failed"] else "dim"),
        f"chunks {progress.chunks[0]:,}/{progress.chunks[1]:,}",
    )
    occupancy = "-" if progress.occupancy is None else f"{progress.occupancy:.0%}"
    figures.add_row(
        f"{_rate(progress.rows_per_s, 1)} rows/s",
        made_rate(progress),
        f"engines {progress.replicas}, {occupancy} full",
        f"ETA {duration(progress.eta_s, whole=True)}",
    )
    engine = Text(" · ".join(engine_parts(progress)), style="dim")
    state = " (stopping)" if progress.stopping else "" if progress.replicas else " (starting engines)"
    return progress_panel(
        f"{progress.name}{state}  {done:,}/{count(progress.rows_total, 'row')}  {duration(progress.elapsed_s, whole=True)}",
        done,
        progress.rows_total,
        figures,
        engine,
        warnings=silences(progress.engine),
    )


def status_lines(status: Status, next_steps: Sequence[str] | None = None) -> list[str]:
    """Return what `raygen status` prints.

    Args:
        next_steps: what is said at the end, of a run that is no command's; None: how one that was interrupted is resumed.
    """
    rows = status.rows
    partly = (
        ", in committed chunks" if status.state in ("running", "interrupted", "cancelled", "expired") else ""
    )
    lines = [
        f"{status.name}: {status.state}  ({status.run})",
        f"  chunks  {status.chunks['committed']:,} of {status.chunks['total']:,} committed",
        f"  rows    {rows['total']:,}: {_fates(rows)}{partly}",
        *_usage_lines(status.usage, partly),
        *_live_line(status),
        *(f"  now     {line}" for line in status.silent),
        *_calls_line(status),
        f"  time    {duration(status.elapsed_s, whole=True)} in {count(status.sessions, 'session')}"
        + (f", {count(status.retries, 'retry', 'retries')}" if status.retries else ""),
    ]
    if status.accept is not None:
        lines.append(f"  {Acceptance(**status.accept).line}")  # type: ignore[arg-type]
    if status.rows_per_s is not None:
        lines.append(f"  speed   {status.rows_per_s:,.1f} rows/s, ETA {duration(status.eta_s, whole=True)}")
    if status.note:
        lines.append(f"  note    {status.note}")
    if next_steps is None:
        next_steps = ["run the same command again to resume"] if status.state == "interrupted" else []
    return [*lines, *(f"  {line}" for line in next_steps)]


def result_lines(result: RunResult, reusing: bool) -> list[str]:
    """Return what `raygen run` and `raygen retry` print at the end.

    Args:
        reusing: was a run to be reused? Then it is said even if nothing of it was.
    """
    rows, calls = result.rows, ""
    if reusing or result.calls["reused"]:
        calls = f"; {count(result.calls['reused'], 'call')} reused, {result.calls['computed']:,} computed"
    done = rows["accepted"] + rows["rejected"] + rows["failed"]
    lines = [
        f"{done:,} of {count(rows['total'], 'row')} {'has' if done == 1 else 'have'} an outcome: {_fates(rows)}; "
        f"{result.usage.made_words()} generated{calls}"
    ]
    if result.acceptance is not None:
        lines.append(result.acceptance.line)
    lines.append(f"outputs: {result.uri}")
    if result.report:
        lines.append(f"report:  {result.report}")
    return lines


def _live_line(status: Status) -> list[str]:
    if status.live is None:
        return []
    live = status.live
    return [
        f"  now     {count(live['rows'], 'row')} done in this session; {live['usage'].words()} so far, committed or not"
    ]


def _usage_lines(usage: Usage, partly: str) -> list[str]:
    tokens = ", ".join(usage.tokens())
    lines = [f"  tokens  {tokens}{partly}"] if tokens else []
    for name, amount in usage.others.items():
        unit = unit_of(name)
        lines.append(f"  {unit.label.lower():<6}  {unit.amount(amount)}{partly}")
    return lines


def _calls_line(status: Status) -> list[str]:
    if not status.reuse and not status.calls["reused"]:
        return []
    where = f" from {status.reuse}" if status.reuse else ""
    return [f"  calls   {status.calls['reused']:,} reused{where}, {status.calls['computed']:,} computed"]


def parse_duration(text: str) -> float:
    """`24h`, `30m`, `90s`, `1.5d` or plain seconds. Raises ConfigError."""
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    number, unit = (text[:-1], text[-1]) if text[-1:] in units else (text, "s")
    try:
        value = float(number) * units[unit]
    except ValueError:
        value = -1
    if not 0 <= value < float("inf"):
        raise ConfigError(f"{text!r} is no length of time; give one such as 24h, 30m or 90s")
    return value
