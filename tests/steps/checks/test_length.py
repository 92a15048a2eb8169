"""Length: bounds, in words, characters and sentences."""

from __future__ import annotations

from typing import Any

import pytest

from tests.steps.scripted import verdict


@pytest.mark.parametrize(
    ("check", "good", "bad", "finding"),
    [
        ({"at_least": 2}, "a b", "a", "it has 1 words; at least 2 are wanted"),
        ({"at_most": 2}, "a b", "a b c", "it has 3 words; at most 2 are wanted"),
        ({"unit": "characters", "at_most": 3}, "abc", "abcd", "it has 4 characters; at most 3 are wanted"),
        (
            {"unit": "sentences", "at_least": 2},
            "It is. It was.",
            "It is",
            "it has 1 sentences; at least 2 are wanted",
        ),
    ],
)
def test_lengths_have_bounds(check: dict[str, Any], good: str, bad: str, finding: str) -> None:
    assert verdict({"length": check}, good) is None
    assert verdict({"length": check}, bad) == f"length: {finding}"
