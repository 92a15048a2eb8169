"""The Ray execution against the inline one: outcome for outcome, whatever breaks. One Ray for the whole file."""

from __future__ import annotations

import contextlib
import subprocess
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import raygen
from raygen.errors import ConfigError, SourceError
from raygen.pipeline.monitor import Budget, Progress
from raygen.pipeline.run import drive, run_job
from raygen.program.job import load_job
from raygen.program.prepare import prepare
from tests.exactly_once.oracle import judge_manifest
from tests.ray import cases
from tests.ray.fragile import fragile_model
from tests.ray.processes import wait_until

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("own_ray")]

Cli = Callable[..., Any]


class Watcher:
    """A display that keeps the widest pool it saw."""

    def __init__(self) -> None:
        self.replicas = 0

    def update(self, progress: Progress) -> None:
        self.replicas = max(self.replicas, progress.replicas)

    def say(self, line: str) -> None:
        pass

    def close(self) -> None:
        pass


def outcomes(run: Path) -> pa.Table:
    return raygen.open_run(str(run)).to_arrow()


def test_ray_and_inline_agree_outcome_for_outcome(cli: Cli, tmp_path: Path) -> None:
    job = cases.write_job(tmp_path, 200, 16, models=cases.echo_model(context_tokens=6), keep=["topic"])
    longer = cases.table(200).to_pydict()
    for row in (3, 4, 150):
        longer["text"][row] += " and more than fits"
    pq.write_table(pa.table(longer), tmp_path / "rows.parquet")
    on_ray = cli("run", job, "-q", "--output", tmp_path / "ray")
    assert (on_ray.code, on_ray.out.split(";")[0].split(": ")[1]) == (3, "197 accepted, 0 rejected, 3 failed")
    assert cli("run", job, "-q", "--inline", "--output", tmp_path / "inline").code == 3
    assert outcomes(tmp_path / "ray").equals(outcomes(tmp_path / "inline"))
    # A retry travels the same way, with only the failed rows of a chunk.
    wide = ("--errors-only", "-q", "--set", "models.writer.options={context_tokens: 99}")
    assert cli("retry", tmp_path / "ray", *wide).code == 0
    assert cli("retry", tmp_path / "inline", *wide, "--inline").code == 0
    assert outcomes(tmp_path / "ray").equals(outcomes(tmp_path / "inline"))


def test_to_ray_reads_what_to_arrow_reads(tmp_path: Path) -> None:
    run_job(load_job(cases.write_job(tmp_path, 100, 9, keep=["topic"])), inline=True)
    view = raygen.open_run(str(tmp_path / "run"))
    blocks = list(view.to_ray().iter_batches(batch_size=None, batch_format="pyarrow"))
    assert pa.concat_tables(blocks).sort_by("row_id").equals(view.to_arrow().sort_by("row_id"))


def test_duplicates_are_the_same_however_wide_the_run_is(tmp_path: Path) -> None:
    """One replica, three, and none of Ray's: the same object; and Ray's readers see what the others see."""
    steps = [
        {"generate": {"model": "writer", "prompt": "About: {{ text }}"}},
        {
            "deduplicate": {
                "of": "{{ topic }} {{ text[8:9] }} is what it is all about",
                "near": {"similarity": 0.9},
            }
        },
    ]
    job = cases.write_job(tmp_path, 200, 9, steps=steps, execution={"cpus_per_replica": 0.2})
    found = {}
    for name, replicas in (("one", [1, 1]), ("three", [3, 3]), ("inline", [1, 1])):
        settings = [f"output={tmp_path / name}", f"execution.replicas={replicas}"]
        run_job(load_job(job, settings), inline=name == "inline")
        told = raygen.open_run(str(tmp_path / name)).manifest.duplicates
        assert told is not None
        found[name] = told
    assert found["one"] == found["three"] == found["inline"]
    assert found["one"].rows > 100
    view = raygen.open_run(str(tmp_path / "three"))
    blocks = list(view.to_ray().iter_batches(batch_size=None, batch_format="pyarrow"))
    assert pa.concat_tables(blocks).sort_by("row_id").equals(view.to_arrow().sort_by("row_id"))


@pytest.mark.parametrize(("fails", "says"), [("start", "is not there"), ("generate", "fell off the bus")])
def test_a_broken_engine_ends_in_one_line_and_the_run_resumes(
    cli: Cli, tmp_path: Path, fails: str, says: str
) -> None:
    job = cases.write_job(tmp_path, 100, 16, models=fragile_model(fails=fails))
    broken = cli("run", job, "-q")
    assert broken.code == 1
    assert (broken.err.count("\n"), says in broken.err) == (1, True), broken.err
    assert broken.err.startswith("raygen: error: the accelerator")
    assert not broken.out
    assert cli("run", job, "-q", "--set", "models.writer.options={fails: never}").code == 0
    cases.assert_exact(cases.objects_of(tmp_path / "run"), cases.expected(100, 16))


@pytest.mark.parametrize("fails", ["start_exits", "generate_exits"])
def test_an_engine_that_keeps_killing_its_process_ends_the_run(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    monkeypatch.setattr("raygen.pipeline.execute.MAX_RETRIES", 1)
    job = cases.write_job(tmp_path, 64, 16, models=fragile_model(fails=fails))
    broken = cli("run", job, "-q")
    assert broken.code == 1
    assert (broken.err.count("\n"), "run the same command again" in broken.err) == (1, True), broken.err
    assert cases.commits_of(tmp_path / "run") < 4
    assert cli("run", job, "-q", "--set", "models.writer.options={fails: never}").code == 0
    cases.assert_exact(cases.objects_of(tmp_path / "run"), cases.expected(64, 16))


def test_an_input_that_changes_under_a_run_is_named(tmp_path: Path) -> None:
    prepared = prepare(load_job(cases.write_job(tmp_path, 100, 16)))
    pq.write_table(cases.table(99), tmp_path / "rows.parquet")
    with pytest.raises(SourceError, match=r"rows\.parquet"):
        drive(prepared, inline=False)


def test_two_drivers_at_once_do_not_double_a_row(tmp_path: Path) -> None:
    job = cases.write_job(tmp_path, 400, 10, models=cases.echo_model(delay_s=0.2, concurrency=10))
    narrow = ("--set", "execution.chunks_in_flight=1")
    with subprocess.Popen(cases.raygen("run", job, "-q", "--inline", *narrow)) as inline:
        assert run_job(load_job(job, narrow[1:])).exit_code == 0
        assert inline.wait(timeout=60) == 0
    objects = cases.objects_of(tmp_path / "run")
    cases.assert_exact(objects, cases.expected(400, 10))
    sessions = [key for key in objects if key.startswith("progress/")]
    assert len(sessions) == 2


def test_engines_multiply_under_load_and_leave_room_to_read(tmp_path: Path) -> None:
    job = cases.write_job(
        tmp_path,
        600,
        10,
        models=cases.echo_model(delay_s=0.5, concurrency=10),
        execution={"replicas": [1, 4], "chunks_in_flight": 1, "cpus_per_replica": 0.5},
    )
    watcher = Watcher()
    assert run_job(load_job(job), display=watcher).exit_code == 0
    assert watcher.replicas > 1  # and the run ended: four at once would leave no CPU to read and write
    cases.assert_exact(cases.objects_of(tmp_path / "run"), cases.expected(600, 10))


def test_more_engines_than_this_ray_has_room_for_are_refused(tmp_path: Path) -> None:
    for wanted, says in (
        ({"replicas": [4, 4], "cpus_per_replica": 0.5}, "room for 3"),
        ({"gpus_per_replica": 1}, "0 GPUs: room for 0"),
    ):
        job = cases.write_job(tmp_path, 100, 10, execution=wanted)
        with pytest.raises(ConfigError, match=says):
            run_job(load_job(job))


def test_a_budget_stops_cleanly_on_ray(tmp_path: Path) -> None:
    job = load_job(
        cases.write_job(
            tmp_path,
            400,
            10,
            models=cases.echo_model(delay_s=0.3, concurrency=10),
            execution={"chunks_in_flight": 1},
        )
    )
    stopped = run_job(job, budget=Budget({"tokens": 400}))
    assert (stopped.exit_code, "token budget of 400" in str(stopped.note)) == (130, True)
    committed = cases.commits_of(tmp_path / "run")
    assert 0 < committed < 40
    quick = load_job(tmp_path / "job.yaml", ["models.writer.options={}"])
    assert run_job(quick).exit_code == 0
    cases.assert_exact(cases.objects_of(tmp_path / "run"), cases.expected(400, 10))


JUDGED = {
    "models": {**cases.echo_model(), "nli": {"family": "classifier", "engine": "echo"}},
    "steps": [
        {"generate": {"model": "writer", "prompt": "About: {{ text }}", "samples": 2}},
        {"verify": {"entailment": {"model": "nli", "premise": "{{ text }}", "threshold": 0.4}}},
        {"refine": {"prompt": "{{ text }}, not {{ sample }}", "budget": 3}},
    ],
}


def test_a_run_on_ray_reuses_another(cli: Cli, tmp_path: Path) -> None:
    job = cases.write_job(tmp_path, 200, 16, **JUDGED)
    before, edit = tmp_path / "before", ("--set", "steps.1.verify.entailment.threshold=0.45")
    assert cli("run", job, "-q", "--output", before).code == 0
    (data,) = (before / "data").glob("00000002-*")
    data.write_bytes(data.read_bytes()[:-1])
    done = cli("run", job, "-q", *edit, "--reuse", before, "--output", tmp_path / "ray")
    assert done.code == 0, done.err
    assert f"reusing {before}: 13 of 13 chunks are committed there" in done.err
    assert "nothing of chunk 2 is reused: " in done.err
    calls = cases.manifest_of(tmp_path / "ray")["calls"]
    assert calls["reused"] > calls["computed"] > 2 * 16
    assert cli("run", job, "-q", "--inline", *edit, "--output", tmp_path / "inline").code == 0
    assert outcomes(tmp_path / "ray").equals(outcomes(tmp_path / "inline"))
    status = cli("status", tmp_path / "ray")
    assert f"{calls['reused']} reused from {before}, {calls['computed']} computed" in status.out


def test_a_run_on_ray_ends_when_it_has_enough_with_another_driver_at_it(tmp_path: Path) -> None:
    job = cases.write_job(
        tmp_path,
        400,
        10,
        models=cases.echo_model(delay_s=0.3, concurrency=10),
        execution={"chunks_in_flight": 1},
        accept={"target": 60},
    )
    with subprocess.Popen(cases.raygen("run", job, "-q", "--inline")) as inline:
        result = run_job(load_job(job))
        assert inline.wait(timeout=60) == 0
    manifest = cases.manifest_of(tmp_path / "run")
    assert (result.state, result.rows) == ("finished", manifest["rows"])
    assert 60 <= result.rows["accepted"] == result.rows["total"] < 400
    chunks = {commit["chunk"] for commit in manifest["chunks"]}
    judged = judge_manifest(cases.objects_of(tmp_path / "run"), "", cases.expected(400, 10), chunks)
    assert not judged.broken
    assert outcomes(tmp_path / "run").num_rows == result.rows["total"]
    assert run_job(load_job(job)).acceptance == result.acceptance


def test_engine_figures_are_served_to_prometheus(own_ray: Any) -> None:
    """What an engine posts is on the page that Ray's agent of the node serves."""

    @own_ray.remote(num_cpus=0)
    class Reporter:
        def show(self) -> None:
            from raygen.cluster.ray_metrics import EngineMetrics

            self.metrics = EngineMetrics("a-run")
            self.metrics.show({"prompt_tokens_computed": 25, "prompt_tokens_reused": 75, "preemptions": 3})

    reporter = Reporter.remote()
    own_ray.get(reporter.show.remote())
    page = f"http://127.0.0.1:{own_ray.nodes()[0]['MetricsExportPort']}/metrics"

    def served() -> bool:
        with contextlib.suppress(OSError), urllib.request.urlopen(page, timeout=5) as answer:
            lines = [line for line in answer.read().decode().splitlines() if 'run="a-run"' in line]
            found = {line.partition("{")[0]: float(line.rpartition(" ")[2]) for line in lines}
            return found == {
                "ray_raygen_engine_prompt_tokens_computed": 25,
                "ray_raygen_engine_prompt_tokens_reused": 75,
                "ray_raygen_engine_preemptions": 3,
                "ray_raygen_engine_prefix_hit_rate": 0.75,
            }
        return False

    wait_until(served, 60, "the figures on the page for Prometheus")


def test_stopping_survives_the_loss_of_the_board(own_ray: Any, tmp_path: Path) -> None:
    """The board is only a process: killed, it comes back, and learns again that the run is stopping."""
    from raygen.cluster.actors import start_beside_driver
    from raygen.pipeline.board import Board

    board = start_beside_driver(Board)
    own_ray.get(board.push.remote("engine", {"requests": 2.0}))
    assert own_ray.get(board.gauges.remote(True)) == {"replicas": 1, "requests": 2.0}
    own_ray.kill(board, no_restart=False)
    wait_until(lambda: own_ray.get(board.gauges.remote(), timeout=30) == {"replicas": 0}, 30, "a new board")
    assert own_ray.get(board.push.remote("engine", {"requests": 3.0})) == (False, [])
    assert own_ray.get(board.gauges.remote(True)) == {"replicas": 1, "requests": 3.0}
    assert own_ray.get(board.push.remote("engine", {})) == (True, [])
    own_ray.kill(board)


def test_a_callers_own_settings_of_ray_data_stay(own_ray: Any, tmp_path: Path) -> None:
    before = own_ray.data.DataContext.get_current().copy()
    assert run_job(load_job(cases.write_job(tmp_path, 40, 10))).exit_code == 0
    after = own_ray.data.DataContext.get_current()
    assert (after.target_max_block_size, after.enable_progress_bars) == (
        before.target_max_block_size,
        before.enable_progress_bars,
    )
