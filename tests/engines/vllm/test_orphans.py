"""The orphan guard: children die with a parent that is killed, and live on when they were released."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

# Starts a child that sleeps, guards it, says its id; then does what the last line says.
PARENT = """
import multiprocessing, os, signal, time
from raygen.engines.vllm.orphans import OrphanGuard

if __name__ == "__main__":
    context = multiprocessing.get_context("fork")
    child = context.Process(target=time.sleep, args=(60,))
    child.start()
    guard = OrphanGuard()
    guard.watch_children()
    guard.watch_children()
    print(child.pid, flush=True)
    {then}
"""


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def run_parent(then: str) -> int:
    code = PARENT.format(then=then)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())  # not to the end of it, which the child holds too
        assert parent.wait(timeout=60) == -signal.SIGKILL
    return child


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="needs /proc")
def test_children_end_with_a_parent_that_is_killed():
    child = run_parent("os.kill(os.getpid(), signal.SIGKILL)")
    began_s = time.monotonic()
    while alive(child):
        assert time.monotonic() - began_s < 20
        time.sleep(0.02)


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="needs /proc")
def test_released_children_are_left_alone():
    child = run_parent("guard.release(); guard.release(); os.kill(os.getpid(), signal.SIGKILL)")
    time.sleep(0.5)
    assert alive(child)
    os.kill(child, signal.SIGKILL)
