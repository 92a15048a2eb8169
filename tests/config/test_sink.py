"""How outcomes are stored: bounds that fit together, and no change of what decides a run's outcomes."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from raygen.config.sink import INSIDE_BYTES, MIB, Sink
from raygen.program.job import Job


def job(**sink: Any) -> Job:
    return Job.model_validate(
        {
            "name": "n",
            "source": {"format": "jsonl", "uri": "rows.jsonl"},
            "models": {"m": {"family": "causal_lm", "engine": "echo"}},
            "steps": [{"generate": {"model": "m", "prompt": "{{ text }}"}}],
            "sink": sink,
        }
    )


def test_a_job_that_says_nothing_of_media_is_the_job_it_was() -> None:
    assert job().identity()["sink"] == {"format": "parquet", "chunk_rows": 128}


def test_where_bytes_lie_does_not_decide_outcomes_and_which_rows_fail_does() -> None:
    assert job(media="beside", chunk_bytes=16 * MIB).identity() == job().identity()
    assert job(max_sample_bytes=1000).identity()["sink"]["max_sample_bytes"] == 1000


def test_a_sample_has_to_fit_into_an_object() -> None:
    with pytest.raises(ValidationError, match=r"max_sample_bytes \(8,388,608\) is more than chunk_bytes"):
        Sink(chunk_bytes=MIB)


def test_media_are_inside_while_they_are_small() -> None:
    assert Sink().inside_bytes == INSIDE_BYTES
    assert Sink(chunk_bytes=MIB, max_sample_bytes=5).inside_bytes == MIB
    assert Sink(media="inside").inside_bytes == 64 * MIB
    assert Sink(media="beside").inside_bytes == 0
