"""Excerpts: never longer than asked for, on one line, with both ends."""

from __future__ import annotations

import pytest

from raygen.steps.tools.excerpt import excerpt


@pytest.mark.parametrize("most", range(10, 60))
def test_it_has_both_ends_and_no_more_than_asked_for(most: int) -> None:
    found = excerpt("begin " + "middle " * 50 + "end", most)
    assert len(found) <= most
    assert found.startswith("beg")
    assert found.endswith("nd")


def test_a_short_text_is_only_put_on_one_line() -> None:
    assert excerpt("one\n two\t three ", 13) == "one two three"
    assert excerpt("one two three", 12) == "one ... ree"
