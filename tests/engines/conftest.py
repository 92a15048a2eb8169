"""Fixtures for tests of engines."""

from __future__ import annotations

import pytest


@pytest.fixture
def quick_endpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries without the wait, and nothing of this machine's own."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setattr("raygen.engines.backoff.BASE_S", 0.001)
