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
from raygen.pipeline.run import drive, prepare
from tests.echo_jobs import echo_job


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
