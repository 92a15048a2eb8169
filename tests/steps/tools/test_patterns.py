"""Patterns: one that never ends fails its row, wherever it stands."""

from __future__ import annotations

from typing import Any

import pytest

from raygen.steps.tools import patterns
from tests.steps.scripted import Writer, job_of, run

GENERATE = {"generate": {"model": "writer", "prompt": "x"}}


@pytest.mark.parametrize(
    ("generate", "check", "step"),
    [
        (GENERATE, {"matches": {"pattern": "(.*?,){20}P"}}, "verify"),
        (GENERATE, {"json_schema": {"pattern": "(.*?,){20}P"}}, "verify"),
        (
            {"generate": {**GENERATE["generate"], "answer": {"pattern": "(.*?,){20}P"}}},
            {"length": {}},
            "generate",
        ),
    ],
)
def test_a_pattern_that_never_ends_fails_its_row(
    generate: dict[str, Any], check: dict[str, Any], step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patterns, "LIMIT_S", 0.1)
    text = f'"{"1," * 40}"'
    found = run(job_of(generate, {"verify": check}), Writer(lambda prompt, n: text))
    assert (found.status, found.reason, found.error["step"]) == ("failed", "pattern_timeout", step)
