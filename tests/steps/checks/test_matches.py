"""Matches: a pattern is wanted, or not."""

from __future__ import annotations

from tests.steps.scripted import verdict


def test_patterns_are_wanted_or_not() -> None:
    assert verdict({"matches": {"pattern": r"\?$"}}, "why?") is None
    assert verdict({"matches": {"pattern": r"\?$"}}, "so") == (
        r"pattern: what matches the pattern \?$ is missing"
    )
    assert verdict({"matches": {"pattern": "as an AI", "wanted": False}}, "as an AI, I").endswith(
        "must not be there"
    )
