"""A session that is asked to stop ends, also when its chunks do not."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raygen.errors import InterruptedRunError
from raygen.pipeline import monitor
from raygen.pipeline.monitor import Monitor
from raygen.pipeline.progress import summary
from raygen.pipeline.run import drive
from raygen.program.prepare import prepare
from tests.exactly_once.memory_store import MemoryStore
from tests.fakes.echo_jobs import echo_job
from tests.fakes.screen import Screen
from tests.runs.made import a_plan


def test_one_signal_ends_a_run_whose_chunks_take_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitor, "GRACE_S", 0.1)
    pq.write_table(
        pa.table({"id": ["a", "b"], "text": ["x", "y"], "topic": ["t", "t"]}), tmp_path / "in.parquet"
    )
    slow = {"writer": {"family": "causal_lm", "engine": "echo", "options": {"delay_s": 30}}}
    prepared = prepare(echo_job(tmp_path / "in.parquet", tmp_path / "run", models=slow))
    sender = threading.Timer(1, os.kill, (os.getpid(), signal.SIGTERM))
    sender.start()
    began_s = time.monotonic()
    with pytest.raises(InterruptedRunError, match="abandoned the chunks in flight"):
        drive(prepared, inline=True)
    sender.join()
    assert time.monotonic() - began_s < 20


class Engines:
    """An execution that says what it is told to."""

    def __init__(self) -> None:
        self.said: dict[str, int] = {}

    def gauges(self) -> dict[str, int]:
        return self.said

    def stop(self) -> None: ...


def test_no_time_left_is_shown_before_there_is_something_to_tell_it_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now_s = 1000.0
    monkeypatch.setattr(monitor.time, "time", lambda: now_s)
    monkeypatch.setattr(monitor.time, "monotonic", lambda: now_s)
    screen, engines = Screen(), Engines()
    watching = Monitor(MemoryStore(), a_plan(40), screen, None)  # 120 rows
    watching.watch(engines)
    ticks = (
        (1300, {}),  # five minutes of loading models are not the pace of rows
        (1301, {"replicas": 1, "in_flight": 16}),
        (1311, {"replicas": 1, "in_flight": 15, "rows_accepted": 1, "usage.output_tokens": 100}),
        (1321, {"replicas": 1, "in_flight": 16, "rows_accepted": 20, "usage.output_tokens": 300}),
    )
    for now_s, said in ticks:  # noqa: B007 - the clocks read it
        engines.said = said
        watching._tick()
    assert [each.eta_s for each in screen.shown] == [None, None, None, 100]
    assert [each.rows_per_s for each in screen.shown] == [None, None, 0.1, 1]
    assert "0 failed · 0/40 chunks · - rows/s · - tokens/s · ETA -" in summary(screen.shown[0])
    assert summary(screen.shown[-1]).endswith("1.0 rows/s · 20 tokens/s · ETA 1 min 40 s")


def test_neither_pace_nor_time_left_is_told_from_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 1000.0
    monkeypatch.setattr(monitor.time, "time", lambda: now_s)
    monkeypatch.setattr(monitor.time, "monotonic", lambda: now_s)
    screen, engines = Screen(), Engines()
    watching = Monitor(MemoryStore(), a_plan(40), screen, None)  # 120 rows
    watching.watch(engines)
    for at_s, rows, silent in [
        (1000, 0, 0),
        (1001, 40, 0),
        (1010, 40, 1),
        (1300, 40, 1),
        (1310, 50, 0),
        (1320, 60, 0),
    ]:
        now_s = at_s
        engines.said = {
            "replicas": 1,
            "in_flight": 1,
            "limit": 1,
            "rows_accepted": rows,
            "endpoint.writer.silent": silent,
        }
        watching._tick()
        assert len(watching._session.silent) == silent
    during, after = screen.shown[3], screen.shown[-1]
    assert (during.eta_s, during.rows_per_s, during.occupancy) == (None, None, None)
    assert (after.eta_s, after.rows_per_s, after.occupancy) == (60, 1, 1)
