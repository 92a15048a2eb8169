"""Status: planned, running, interrupted or finished, told from the directory alone."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from raygen.errors import CorruptDataError, UserError
from raygen.pipeline.progress import status_lines
from raygen.runs.manifest import finish
from raygen.runs.plan import pin
from raygen.runs.session import LOST_S, Session
from raygen.runs.status import is_alive, read_status
from raygen.usage import Usage
from tests.exactly_once.memory_store import MemoryStore
from tests.runs.made import a_plan, put_chunk

PLAN = a_plan(4)


@pytest.fixture
def store() -> MemoryStore:
    store = MemoryStore()
    pin(store, PLAN)
    return store


@pytest.fixture(scope="module")
def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_no_run_is_a_users_error() -> None:
    with pytest.raises(UserError, match=r"memory://store: no run here \(no plan\.json\)"):
        read_status(MemoryStore())


def test_planned(store: MemoryStore) -> None:
    status = read_status(store)
    assert status.state == "planned"
    assert status.chunks == {"total": 4, "committed": 0}
    assert status.rows == {"total": 12, "accepted": 0, "rejected": 0, "failed": 0}
    assert (status.sessions, status.rows_per_s, status.eta_s) == (0, None, None)


def test_running(store: MemoryStore) -> None:
    put_chunk(store, PLAN, 0, "arf")
    session = Session(started_s=time.time() - 10, eta_s=15.0)
    session.points = [(session.started_s + 10, 6, 4, 0.5)]
    session.rows, session.usage = (
        {"accepted": 6, "rejected": 0, "failed": 0},
        Usage(prompt_tokens=1500, output_tokens=40),
    )
    session.write(store)
    status = read_status(store)
    assert status.state == "running"
    assert status.rows == {"total": 12, "accepted": 1, "rejected": 1, "failed": 1}
    assert status.usage == {"prompt_tokens": 5, "output_tokens": 2}
    assert (status.rows_per_s, status.occupancy) == (0.6, 0.5)
    assert status.eta_s == pytest.approx(15, abs=1)
    assert status.elapsed_s == pytest.approx(10, abs=1)
    assert status.live == {"rows": 6, "usage": {"prompt_tokens": 1500, "output_tokens": 40}}
    lines = status_lines(status)
    assert "  rows    12: 1 accepted, 1 rejected, 1 failed, in committed chunks" in lines
    assert "  tokens  5 prompt, 2 output, in committed chunks" in lines
    assert (
        "  now     6 rows done in this session; 1,500 prompt and 40 output tokens so far, committed or not"
        in lines
    )


def test_what_a_living_driver_says_of_silent_endpoints_is_told(store: MemoryStore, dead_pid: int) -> None:
    Session(silent=["writer's endpoint does not answer"]).write(store)
    Session(silent=["another's endpoint does not answer"], pid=dead_pid).write(store)
    assert read_status(store).silent == ("writer's endpoint does not answer",)


def test_interrupted_by_a_stop(store: MemoryStore) -> None:
    Session(state="interrupted", note="time budget of 5 s reached").write(store)
    status = read_status(store)
    assert (status.state, status.note, status.rows_per_s) == (
        "interrupted",
        "time budget of 5 s reached",
        None,
    )


def test_interrupted_by_a_crash(store: MemoryStore, dead_pid: int) -> None:
    Session(pid=dead_pid).write(store)
    assert read_status(store).state == "interrupted"


def test_interrupted_without_a_session_to_tell(store: MemoryStore) -> None:
    put_chunk(store, PLAN, 0)
    assert read_status(store).state == "interrupted"


def test_finished(store: MemoryStore) -> None:
    commits = [put_chunk(store, PLAN, chunk)[0] for chunk in range(4)]
    assert read_status(store).state == "interrupted"
    finish(store, PLAN, commits)
    Session().write(store)  # another driver has not noticed yet
    status = read_status(store)
    assert status.state == "finished"
    assert status.chunks == {"total": 4, "committed": 4}
    assert status.rows["accepted"] == status.rows["total"] == 12
    assert status.as_dict()["usage"] == {"prompt_tokens": 20, "output_tokens": 8}
    assert status.live is None
    assert "committed chunks" not in "".join(status_lines(status))


def test_a_corrupt_commit_is_no_status(store: MemoryStore) -> None:
    store.put("commits/00000000.json", b"garbage")
    with pytest.raises(CorruptDataError):
        read_status(store)


def test_a_driver_elsewhere_lives_as_long_as_it_gives_signs(dead_pid: int) -> None:
    now_s = time.time()
    assert is_alive(Session(pid=os.getpid()))
    assert not is_alive(Session(pid=dead_pid))
    assert is_alive(Session(host="elsewhere", pid=dead_pid))
    assert not is_alive(Session(host="elsewhere", pid=dead_pid, updated_s=now_s - LOST_S - 1))
    assert not is_alive(Session(state="finished"))


def test_a_driver_of_another_user_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int, signal: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    assert is_alive(Session(pid=1))
