"""No test of records waits for a store."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

from raygen.storage import create, sealed


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that were to be slept, in order."""
    seconds: list[float] = []
    for module in (create, sealed):
        monkeypatch.setattr(module, "time", SimpleNamespace(time=time.time, sleep=seconds.append))
    return seconds
