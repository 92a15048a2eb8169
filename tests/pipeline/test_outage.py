"""Whole runs over endpoints that refuse a row, everybody, or are gone: what is stored, what is said, and that a run resumes."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.endpoint.mock import Reply, prompt_of
from raygen.errors import InterruptedRunError
from raygen.pipeline.monitor import Budget, Progress
from raygen.pipeline.progress import summary
from raygen.pipeline.run import run_job
from raygen.program.job import load_job
from tests.fakes.screen import Screen
from tests.fakes.served import endpoint_job, free_port, served

pytestmark = pytest.mark.usefixtures("quick_endpoints")
Cli = Callable[..., Any]
ROWS = [f"question {n}" for n in range(40)]


def status(cli: Cli, tmp_path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(cli("status", tmp_path / "run", "--json").out)
    return found


def test_a_blocked_row_does_not_keep_a_run_from_its_end(cli: Cli, tmp_path: Path) -> None:
    def firewall(body: dict[str, Any], head: bytes) -> Reply | None:
        return (
            (403, {}, b"<html>Sorry, you have been blocked</html>") if "OR 1=1" in prompt_of(body) else None
        )

    rows = [*ROWS[:21], "BAD ' OR 1=1 --", *ROWS[22:]]
    with served(firewall) as endpoint:
        done = cli("run", endpoint_job(tmp_path, endpoint.url, rows), "--inline", "-q")
    assert done.code == 3, done.err
    assert "39 accepted, 0 rejected, 1 failed" in done.out
    assert "blocked (1) would fail again" in done.err
    assert "may pass" not in done.err
    shown = cli("show", tmp_path / "run", "--status", "failed").out
    assert "HTTP 403" in shown
    assert "you have been blocked" in shown


def test_an_account_that_is_spent_ends_the_run_which_resumes_after_payment(cli: Cli, tmp_path: Path) -> None:
    spent = True
    asked = 0

    def balance(body: dict[str, Any], head: bytes) -> Reply | None:
        nonlocal asked
        asked += 1
        return (402, {}, b'{"error": {"message": "Insufficient Balance"}}') if spent and asked > 9 else None

    with served(balance) as endpoint:
        job = endpoint_job(tmp_path, endpoint.url, ROWS, concurrency=2)
        ended = cli("run", job, "--inline", "-q")
        assert ended.code == 2
        assert "nothing is left to spend" in ended.err
        assert "Insufficient Balance" in ended.err
        found = status(cli, tmp_path)
        assert (found["state"], found["rows"]["failed"]) == ("interrupted", 0)
        assert "nothing is left to spend" in found["note"]
        spent = False
        assert cli("run", job, "--inline", "-q").code == 0


def test_a_wrong_port_is_refused_and_the_right_one_goes_on(cli: Cli, tmp_path: Path) -> None:
    port = free_port()
    job = endpoint_job(tmp_path, f"http://127.0.0.1:{port}/v1", ROWS)
    refused = cli("run", job, "--inline", "-q")
    assert refused.code == 2
    assert f"base_url http://127.0.0.1:{port}/v1 has not answered at all" in refused.err
    assert status(cli, tmp_path)["rows"] == {"total": 40, "accepted": 0, "rejected": 0, "failed": 0}
    with served(port=port):
        assert cli("run", job, "--inline", "-q").code == 0


def test_an_outage_is_waited_for_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raygen.pipeline.monitor.TICK_S", 0.05)
    port, screen, results = free_port(), Screen(), []
    job = load_job(endpoint_job(tmp_path, f"http://127.0.0.1:{port}/v1", ROWS, concurrency=4))
    with served(port=port, latency_s=0.05) as endpoint:
        running = threading.Thread(target=lambda: results.append(run_job(job, inline=True, display=screen)))
        running.start()
        while endpoint.counters.answered < 8:
            time.sleep(0.01)
    told: list[Progress] = []
    while not told:
        time.sleep(0.05)
        told = [each for each in screen.shown if "(connection refused)" in summary(each)]
        assert running.is_alive()
    with served(port=port):
        running.join(60)
    assert results[0].rows == {"total": 40, "accepted": 40, "rejected": 0, "failed": 0}
    line = summary(told[-1])
    assert line.startswith("writer's endpoint does not answer since ")
    assert "(connection refused); asking again every 1 s; gives up at " in line
    assert "asked again " in line
    assert "full" not in line
    assert line.endswith("ETA -")


def test_a_run_that_mostly_fails_stops_and_resumes(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raygen.pipeline.monitor.TICK_S", 0.02)
    broken = True

    def half(body: dict[str, Any], head: bytes) -> Reply | None:
        prompt = prompt_of(body)
        return (400, {}, b"no") if broken and prompt.endswith(("1", "3", "5", "7", "9")) else None

    rows = [f"question {n}" for n in range(400)]
    with served(half, latency_s=0.02) as endpoint:
        job = endpoint_job(tmp_path, endpoint.url, rows, concurrency=4)
        stopped = cli("run", job, "--inline", "-q", "--max-failed", "5%")
        assert stopped.code == 4, stopped.err
        assert "too many rows failed: " in stopped.err
        assert "(max_failed 5%; why: raygen show " in stopped.err
        assert "Run the same command again to resume" in stopped.err
        found = status(cli, tmp_path)
        assert found["state"] == "interrupted"
        assert 5 <= found["rows"]["failed"] < 100
        broken = False
        finished = cli("run", job, "--inline", "-q", "--max-failed", "5%")
        failed = status(cli, tmp_path)["rows"]["failed"]
        assert finished.code == (4 if failed > 20 else 3)
        retried = cli("retry", tmp_path / "run", "--errors-only", "--inline", "-q")
        assert retried.code == 0, retried.err


def test_within_what_is_borne_a_run_ends_as_usual(cli: Cli, tmp_path: Path) -> None:
    one = lambda body, head: (400, {}, b"no") if prompt_of(body) == ROWS[3] else None  # noqa: E731
    with served(one) as endpoint:
        job = endpoint_job(tmp_path, endpoint.url, ROWS)
        assert cli("run", job, "--inline", "-q", "--set", "execution.max_failed=1").code == 3
        over = cli("run", job, "--inline", "-q", "--set", "execution.max_failed=0")
        assert over.code == 4
        assert "more rows failed than max_failed allows: exit code 4" in over.err
    wrong = cli("run", job, "--inline", "-q", "--max-failed", "5 %")
    assert wrong.code == 2
    assert "execution.max_failed" in wrong.err
    assert "such as 5%" in wrong.err


def test_a_budget_does_not_wait_for_an_endpoint_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raygen.pipeline.monitor.TICK_S", 0.05)
    monkeypatch.setattr("raygen.pipeline.monitor.GRACE_S", 0.1)
    url = f"http://127.0.0.1:{free_port()}/v1"
    job = load_job(endpoint_job(tmp_path, url, ROWS, start_patience_s=30))
    began_s = time.monotonic()
    with pytest.raises(InterruptedRunError, match="run the same command again to resume"):
        run_job(job, inline=True, budget=Budget(seconds=0.5))
    assert time.monotonic() - began_s < 15


def test_what_an_endpoint_says_does_not_steer_the_terminal(cli: Cli, tmp_path: Path) -> None:
    said = b'{"error": {"message": "pay \\u001b[2J\\u001b]0;title\\u0007 \\u202e \\u009b2J"}}'
    escapes = {"\x1b", "\x07", "\u202e", "\x9b"}
    with served(lambda body, head: (402, {}, said)) as endpoint:
        job = endpoint_job(tmp_path, endpoint.url, ROWS)
        ended = cli("run", job, "--inline", "-q")
        assert ended.code == 2
        assert r"pay \x1b[2J" in ended.err
        note = cli("status", tmp_path / "run").out
        assert r"pay \x1b[2J" in note
        assert not escapes & {*ended.err, *note}
    with served(lambda body, head: (400, {}, said)) as endpoint:
        forecast = cli("plan", endpoint_job(tmp_path, endpoint.url, ROWS)).out
        assert r"the first that failed: bad_request: HTTP 400: pay \x1b[2J" in forecast
        assert not escapes & {*forecast}
