"""Budgets: a cap on any unit or on time; what cannot be counted is refused before work."""

from __future__ import annotations

import pytest

from raygen.errors import ConfigError
from raygen.pipeline.budget import Budget, budget_of
from raygen.program.job import Job
from raygen.usage import Usage
from tests.fakes.echo_jobs import echo_job


def job() -> Job:
    return echo_job("in.parquet", "out")


def test_a_cap_is_reached_by_its_own_unit() -> None:
    budget = Budget({"tokens": 30, "images": 2}, 5.0)
    assert budget.reached(Usage(prompt_tokens=9, output_tokens=20, images=1), 4.9) is None
    assert budget.reached(Usage(prompt_tokens=10, output_tokens=20), 0) == "token budget of 30 reached"
    assert budget.reached(Usage(images=2), 0) == "budget of 2 images reached"
    assert budget.reached(Usage(), 5) == "time budget of 5 s reached"
    assert Budget().reached(Usage(images=9), 9) is None


def test_options_make_a_budget() -> None:
    assert budget_of(job(), None, None, None) == Budget()
    assert budget_of(job(), 10, 3.0, ["images=500", "audio_seconds=2.5"]) == Budget(
        {"tokens": 10, "images": 500, "audio_seconds": 2.5}, 3.0
    )


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("imges=500", "no unit 'imges' (did you mean 'images'?); units: audio_seconds, encoded_tokens"),
        ("credits=1", "no unit 'credits'; units:"),
        ("images", "give a unit and a positive amount, such as images=500"),
        ("images=many", "give a unit and a positive amount"),
        ("images=0", "give a unit and a positive amount"),
        ("images=nan", "give a unit and a positive amount"),
        ("tokens=5", "there is a budget of tokens already"),
    ],
)
def test_what_cannot_be_counted_is_refused(given: str, why: str) -> None:
    with pytest.raises(ConfigError) as error:
        budget_of(job(), 10, None, [given])
    assert f"--budget {given}: {why}" in str(error.value)
