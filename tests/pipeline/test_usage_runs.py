"""Runs whose engine counts in a unit of its own: it is added up, kept, budgeted, shown, and taken over."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import raygen
from raygen.engines.echo import EchoEngine
from raygen.engines.requests import GenerateRequest, GenerateResult
from raygen.pipeline.budget import Budget, budget_of
from raygen.pipeline.forecast import forecast
from raygen.pipeline.progress import result_lines, status_lines
from raygen.pipeline.run import run_job
from raygen.program.job import Job
from raygen.runs.status import read_status
from raygen.storage import open_store
from tests.fakes.echo_jobs import echo_job

ROWS = 6


class Painter(EchoEngine):
    """Echo, every sample of which takes half a credit."""

    units = frozenset({"credits"})

    async def generate(self, request: GenerateRequest) -> GenerateResult:
        result = await super().generate(request)
        for sample in result.samples:
            sample.units = {"credits": 0.5}
        self.stats.usage["credits"] += 0.5 * len(result.samples)
        return result


@pytest.fixture
def job(tmp_path: Path) -> Callable[..., Job]:
    """Write the source; make jobs of two samples a row, in chunks of two rows."""
    source = tmp_path / "in.parquet"
    pq.write_table(
        pa.table({"id": [f"r{n}" for n in range(ROWS)], "text": ["a b"] * ROWS, "topic": ["t"] * ROWS}),
        source,
    )
    model = {"family": "causal_lm", "engine": "tests.pipeline.test_usage_runs:Painter"}

    def made(name: str, **changes: Any) -> Job:
        plain = {"models": {"writer": model}, "sink": {"chunk_rows": 2}, **changes}
        return echo_job(source, tmp_path / name, **plain)

    return made


def test_its_unit_is_in_commits_manifest_outcomes_and_pages(job: Callable[..., Job], tmp_path: Path) -> None:
    result = run_job(job("whole"), inline=True)
    usage = {"prompt_tokens": 3 * ROWS, "output_tokens": 2 * ROWS, "credits": ROWS}
    assert result.usage == usage
    assert f"{2 * ROWS} tokens, {ROWS} credits generated" in result_lines(result, reusing=False)[0]
    run = raygen.open_run(str(tmp_path / "whole"))
    assert (run.manifest.usage, run.chunks[0][1].usage["credits"]) == (usage, 2)
    sample = next(run.rows())["samples"][0]
    assert sample["usage"] == {"prompt_tokens": 3, "output_tokens": 1, "units": {"credits": 0.5}}
    status = read_status(open_store(str(tmp_path / "whole")))
    assert {"  tokens  18 prompt, 12 output", "  credits  6"} <= set(status_lines(status))
    assert ">credits<" in (tmp_path / "whole/report.html").read_text()


def test_its_budget_stops_a_run_that_is_resumed(job: Callable[..., Job], tmp_path: Path) -> None:
    slow = {
        "family": "causal_lm",
        "engine": "tests.pipeline.test_usage_runs:Painter",
        "options": {"delay_s": 0.4, "concurrency": 1},
    }
    one = job("part", models={"writer": slow}, execution={"chunks_in_flight": 1})
    stopped = run_job(one, inline=True, budget=budget_of(one, None, None, ["credits=1"]))
    assert (stopped.state, stopped.note) == ("interrupted", "budget of 1 credits reached")
    assert 0 < stopped.usage["credits"] < ROWS
    done = run_job(one, inline=True)
    assert (done.state, done.usage["credits"]) == ("finished", ROWS)


def test_a_forecast_tells_it_and_how_far_a_budget_reaches(job: Callable[..., Job]) -> None:
    found = forecast(job("planned"), 3, budget=Budget({"credits": 4}))
    assert "  about 18 prompt and 12 output tokens, 6 credits" in found.lines()
    assert "  4 credits reach about 4 rows" in found.lines()
    assert json.loads(json.dumps(found.as_dict()))["usage"]["credits"] == 6


def test_samples_that_are_taken_over_keep_it_and_cost_nothing(
    job: Callable[..., Job], tmp_path: Path
) -> None:
    run_job(job("first"), inline=True)
    again = run_job(job("second", execution={"reuse": str(tmp_path / "first")}), inline=True)
    assert (again.calls["computed"], again.usage) == (0, {})
    held = [row["samples"] for row in raygen.open_run(str(tmp_path / "second")).rows()]
    assert {sample["usage"]["units"]["credits"] for samples in held for sample in samples} == {0.5}
