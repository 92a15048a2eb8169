"""No test of sealed records waits for a store."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

from raygen.storage import sealed


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that were to be slept, in order."""
    seconds: list[float] = []
    monkeypatch.setattr(sealed, "time", SimpleNamespace(time=time.time, sleep=seconds.append))
    return seconds
