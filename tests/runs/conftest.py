"""No test of runs waits for a store."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

from raygen.runs import commit, manifest, plan
from raygen.storage import create, sealed


@pytest.fixture(autouse=True)
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that were to be slept, in order."""
    seconds: list[float] = []
    for module in (commit, manifest, plan, create, sealed):
        monkeypatch.setattr(module, "time", SimpleNamespace(time=time.time, sleep=seconds.append))
    return seconds
