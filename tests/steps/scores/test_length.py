"""The score of length: in words, characters or sentences."""

from __future__ import annotations

import pytest

from tests.steps.scripted import Writer, job_of, run


@pytest.mark.parametrize(("unit", "length"), [("words", 4.0), ("characters", 14.0), ("sentences", 2.0)])
def test_a_text_is_counted_in_units(unit: str, length: float) -> None:
    generate = {"generate": {"model": "writer", "prompt": "x"}}
    found = run(job_of(generate, {"score": {"length": unit}}), Writer(lambda prompt, n: "It is. It was."))
    assert found.samples[0]["scores"] == {"score": length}
