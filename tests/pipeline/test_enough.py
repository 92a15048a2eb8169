"""Until enough: a run ends cleanly with the rows it needs, whoever works on it and however often it is begun."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import raygen
from raygen.pipeline.monitor import Budget
from raygen.pipeline.retry import retry_run
from raygen.pipeline.run import RunResult, run_job
from raygen.pipeline.work import Work, todos_of
from raygen.program.host import EngineHost
from raygen.program.job import Job
from raygen.program.resolve import resolve_models
from raygen.review.verify import verify_run
from raygen.runs import ledger
from raygen.runs.commit import committed_chunks, read_commits
from raygen.runs.manifest import Manifest, finish
from raygen.runs.plan import Plan
from raygen.runs.status import read_status
from raygen.storage import Store, open_store
from raygen.storage.sealed import seal, unseal
from tests.exactly_once.sessions import do_chunk

ROWS, CHUNK_ROWS = 60, 6


@pytest.fixture(autouse=True)
def no_report(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing one takes longer than these runs."""
    if request.node.name != "test_everything_works_on_a_run_that_has_enough":
        for module in ("run", "retry"):
            monkeypatch.setattr(f"raygen.pipeline.{module}.write_report", lambda store: "report.html")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Every seventh row asks for a class that the judge does not know."""
    numbers = range(ROWS)
    labels = ["no class" if n % 7 == 6 else "entailment" for n in numbers]
    columns = {"id": [f"p{n}" for n in numbers], "text": [f"passage {n}" for n in numbers], "label": labels}
    pq.write_table(pa.table(columns), tmp_path / "rows.parquet")
    return tmp_path / "rows.parquet"


def job_of(
    source: Path, target: int | None, delay_s: float = 0.0, label: str = "entailment", **more: Any
) -> Job:
    judged = {"model": "nli", "premise": "{{ text }}", "label": label, "threshold": 0.33}
    job = {
        "name": "enough",
        "source": {"format": "parquet", "uri": str(source), "key": "id"},
        "models": {
            "writer": {"family": "causal_lm", "engine": "echo", "options": {"delay_s": delay_s}},
            "nli": {"family": "classifier", "engine": "echo"},
        },
        "steps": [
            {"generate": {"model": "writer", "prompt": "About {{ text }}"}},
            {"verify": {"entailment": judged}},
        ],
        "sink": {"chunk_rows": CHUNK_ROWS},
        "execution": {"chunks_in_flight": 1},
        "output": str(source.parent / "run"),
        **({} if target is None else {"accept": {"target": target}}),
        **more,
    }
    return Job.model_validate(job)


def store_of(source: Path) -> Store:
    return open_store(str(source.parent / "run"))


def chunks_in(source: Path) -> list[int]:
    return [commit.chunk for commit in Manifest.load(store_of(source)).chunks]


def run(job: Job) -> tuple[RunResult, list[str]]:
    said: list[str] = []
    return run_job(job, inline=True, say=said.append), said


def test_a_run_ends_with_the_chunks_that_were_under_way(source: Path) -> None:
    result, _ = run(job_of(source, 8))
    accepted = result.rows["accepted"]
    assert (result.state, result.exit_code) == ("finished", 0)
    assert 8 <= accepted < 8 + 2 * CHUNK_ROWS
    assert chunks_in(source) == sorted(committed_chunks(store_of(source)))
    done = len(chunks_in(source)) * CHUNK_ROWS
    assert result.rows["total"] == done < ROWS
    assert result.acceptance is not None
    spared = f", {ROWS - done} rows not needed"
    assert result.acceptance.line == f"enough: {accepted} accepted of 8 wanted{spared}"
    # What was done came out as in a run that does it all.
    run(job_of(source, None, output=str(source.parent / "whole")))
    lineage = ["lineage"]
    whole = raygen.open_run(str(source.parent / "whole")).to_arrow().drop_columns(lineage)
    assert (
        raygen.open_run(str(source.parent / "run"))
        .to_arrow()
        .drop_columns(lineage)
        .equals(whole.slice(0, done))
    )
    again, said = run(job_of(source, 8))
    assert (again.rows, again.acceptance, said) == (
        result.rows,
        result.acceptance,
        [f"{source.parent}/run is finished; nothing to do"],
    )


def test_rows_that_run_out_end_it_as_usual(source: Path) -> None:
    result, _ = run(job_of(source, 1000))
    assert (result.state, result.rows["total"], len(chunks_in(source))) == ("finished", ROWS, 10)
    assert result.acceptance is not None
    assert result.acceptance.line == f"not enough: {result.rows['accepted']} accepted of 1,000 wanted"
    assert verify_run(str(source.parent / "run")).ok


def test_everything_works_on_a_run_that_has_enough(
    cli: Callable[..., Any], source: Path, tmp_path: Path
) -> None:
    path, where = tmp_path / "job.yaml", tmp_path / "run"
    path.write_text(job_of(source, 8, label="{{ label }}").model_dump_json(exclude_none=True))
    done = cli("run", path, "--inline", "-q")
    assert done.code == 3, done.err  # a row failed
    status = json.loads(cli("status", where, "--json").out)
    accept, rows = status["accept"], status["rows"]
    assert accept["wanted"] == 8 <= accept["accepted"] == rows["accepted"]
    assert accept["rows_not_needed"] == ROWS - rows["total"] > 0
    line = f"enough: {accept['accepted']} accepted of 8 wanted, {accept['rows_not_needed']} rows not needed"
    assert line in done.out
    assert f"  {line}\n" in cli("status", where).out
    assert f"E{line[1:]}." in (where / "report.html").read_text()
    checked = cli("verify", where, "--replay", "100%")
    assert (checked.code, "sound" in checked.out, "rows were not needed" in checked.out) == (0, True, True)
    assert cli("show", where, "-n", "1").code == 0
    exported = cli("export", where, "--to", tmp_path / "export")
    assert exported.out.startswith(f"{rows['total']} rows in")
    assert raygen.open_run(str(where)).to_arrow().num_rows == rows["total"]
    assert raygen.open_run(str(where)).dataset().count_rows() == rows["total"]
    mend = ("--set", "steps.1.verify.entailment.label=entailment")
    mended = cli("retry", where, "--errors-only", "--inline", "-q", *mend)
    assert mended.code == 0, mended.err
    after = json.loads(cli("status", where, "--json").out)
    assert (after["rows"]["total"], after["rows"]["failed"]) == (rows["total"], 0)
    assert after["accept"]["accepted"] == after["rows"]["accepted"]
    assert cli("verify", where).code == 0
    assert cli("collect", where, "--grace", "0").code == 0
    assert cli("retry", where, "--errors-only", "--set", "accept.target=99").code == 2


def test_what_earlier_sessions_accepted_counts(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = run(job_of(source, 12))
    (source.parent / "run/manifest.json").unlink()
    last = chunks_in_commits(source)[-1]
    (source.parent / f"run/commits/{last:08d}.json").unlink()
    second, said = run(job_of(source, 12))
    assert "chunks are committed" in said[0]
    assert second.rows == first.rows  # the chunk that was lost, and no other
    # A session that died right before its manifest leaves nothing to do but that.
    (source.parent / "run/manifest.json").unlink()
    monkeypatch.setattr(EngineHost, "start", lambda self: pytest.fail("no model is needed"))
    third, _ = run(job_of(source, 12))
    assert (third.state, third.rows) == ("finished", first.rows)


def chunks_in_commits(source: Path) -> list[int]:
    return sorted(committed_chunks(store_of(source)))


def test_a_budget_may_stop_it_first(source: Path) -> None:
    stopped = run_job(job_of(source, 12, delay_s=0.2), inline=True, budget=Budget({"tokens": 1}))
    assert (stopped.state, "token budget" in str(stopped.note)) == ("interrupted", True)
    assert stopped.acceptance is not None
    assert stopped.acceptance.line == f"so far {stopped.rows['accepted']} accepted of 12 wanted"
    status = read_status(store_of(source))
    assert status.accept == {"wanted": 12, "accepted": stopped.rows["accepted"], "rows_not_needed": None}
    result, _ = run(job_of(source, 12))
    assert result.acceptance is not None
    assert result.acceptance.line.startswith("enough")
    assert read_status(store_of(source)).note is None


@pytest.mark.parametrize("theirs", [1, 99], ids=["its first chunk", "all that are needed"])
def test_what_another_driver_commits_counts(
    source: Path, monkeypatch: pytest.MonkeyPatch, theirs: int
) -> None:
    """This driver finds no chunk done when it begins, and these chunks when it comes to them."""
    first, _ = run(job_of(source, 12))
    (source.parent / "run/manifest.json").unlink()
    for chunk in chunks_in_commits(source)[theirs:]:
        (source.parent / f"run/commits/{chunk:08d}.json").unlink()
    looks: list[int] = []

    def late(store: Store) -> set[int]:
        looks.append(1)
        return committed_chunks(store) if len(looks) > 1 else set()

    monkeypatch.setattr(ledger, "committed_chunks", late)
    result, _ = run(job_of(source, 12))
    assert (result.state, result.rows) == ("finished", first.rows)


def another_driver(job: Job, chunks: list[int]) -> Manifest:
    """Do these chunks, and finish the run with them."""
    store = open_store(job.output_uri)
    plan = Plan.load(store)
    work = Work.of(job, plan, resolve_models(job), store, single_committer=False)
    for todo in todos_of(plan, set()):
        if todo.chunk in chunks:
            do_chunk(work, store, todo)
    return finish(store, plan, read_commits(store, chunks))


def test_a_driver_that_is_too_late_agrees_with_the_one_that_finished(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it works on its first chunk, another driver finishes the run with other chunks."""
    job, write, theirs = job_of(source, 4), Work.write, []

    def overtaken(self: Work, *arguments: Any) -> Any:
        if not theirs:
            monkeypatch.setattr(Work, "write", write)
            theirs.append(another_driver(job, [5, 6, 7]))
        return write(self, *arguments)

    monkeypatch.setattr(Work, "write", overtaken)
    result, _ = run(job)
    assert [commit.chunk for commit in theirs[0].chunks] == chunks_in(source) == [5, 6, 7]
    assert (result.state, result.rows) == ("finished", theirs[0].rows)
    # Its own chunk was committed all the same, and nobody reads it; no other was begun.
    assert chunks_in_commits(source) == [0, 5, 6, 7]
    seen = raygen.open_run(str(source.parent / "run")).to_arrow().column("row_id").to_pylist()
    assert seen == [f"p{n}" for n in range(5 * CHUNK_ROWS, 8 * CHUNK_ROWS)]
    assert verify_run(str(source.parent / "run")).ok
    assert read_status(store_of(source)).rows == result.rows


@pytest.mark.parametrize("target", [8, 30])
def test_two_drivers_at_once_agree(source: Path, target: int) -> None:
    with ThreadPoolExecutor(2) as pool:
        job = job_of(source, target, delay_s=0.02)
        both = list(pool.map(lambda _: run_job(job, inline=True), range(2)))
    assert both[0].rows == both[1].rows == Manifest.load(store_of(source)).rows
    assert both[0].acceptance == both[1].acceptance
    table = raygen.open_run(str(source.parent / "run")).to_arrow()
    assert len(set(table.column("row_id").to_pylist())) == table.num_rows == both[0].rows["total"]
    assert verify_run(str(source.parent / "run"), "100%").ok


def test_a_manifest_that_left_chunks_out_without_having_enough_is_not_sound(source: Path) -> None:
    run(job_of(source, 8))
    path = source.parent / "run/manifest.json"
    record = unseal(path.read_bytes(), "manifest")
    record["chunks"] = record["chunks"][:1]
    path.write_bytes(seal(record))
    found = verify_run(str(source.parent / "run"))
    assert f"{CHUNK_ROWS} outcomes for {ROWS} rows" in found.problems


def test_attempts_raise_what_is_accepted(source: Path) -> None:
    rates = []
    for attempts in (1, 4):
        accept = {"max_attempts_per_row": attempts} if attempts > 1 else {"target": 10**6}
        output = str(source.parent / f"run{attempts}")
        result, _ = run(job_of(source, None, accept=accept, output=output))
        rates.append(result.rows["accepted"])
        assert verify_run(output, "100%").ok
    assert rates[0] < rates[1]


def test_more_attempts_reuse_the_first(source: Path) -> None:
    first, _ = run(job_of(source, None))
    more = job_of(
        source,
        None,
        accept={"max_attempts_per_row": 3},
        output=str(source.parent / "more"),
        execution={"reuse": str(source.parent / "run")},
    )
    result, _ = run(more)
    assert result.calls["reused"] == first.calls["computed"] == 2 * ROWS
    assert result.calls["computed"] > 0
    assert result.rows["accepted"] > first.rows["accepted"]


def test_a_retry_of_a_row_tries_it_as_often(source: Path) -> None:
    run(job_of(source, None, label="{{ label }}", accept={"max_attempts_per_row": 3}))
    mend = ["steps.1.verify.entailment.label=entailment"]
    retried = retry_run(str(source.parent / "run"), mend, inline=True, display=None, say=print)
    whole, _ = run(
        job_of(source, None, accept={"max_attempts_per_row": 3}, output=str(source.parent / "whole"))
    )
    assert retried.rows == whole.rows
