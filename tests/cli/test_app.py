"""The command line end to end, inline: exit codes, one-line errors, resume, retry, export, verify."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

import raygen
from raygen.engines.echo import echo_text

Cli = Callable[..., Any]


@pytest.fixture
def job(tmp_path: Path, passages: Path) -> Path:
    path = tmp_path / "job.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "name": "echo",
                "source": {"format": "parquet", "uri": str(passages), "key": "id"},
                "models": {"writer": {"family": "causal_lm", "engine": "echo"}},
                "steps": [{"generate": {"model": "writer", "prompt": "About: {{ text }}", "samples": 2}}],
                "keep": ["topic"],
                "sink": {"chunk_rows": 16},
                "output": str(tmp_path / "run"),
            }
        )
    )
    return path


def test_run_makes_every_outcome(cli: Cli, job: Path, tmp_path: Path) -> None:
    done = cli("run", job, "--inline")
    assert done.code == 0, done.err
    assert "100 of 100 rows have an outcome: 100 accepted" in done.out
    table = raygen.open_run(str(tmp_path / "run")).to_arrow()
    assert table.column("row_id").to_pylist() == [f"p{n}" for n in range(100)]
    row = table.slice(37, 1).to_pylist()[0]
    assert row["topic"] == "t2"
    assert [s["text"] for s in row["samples"]] == [
        echo_text("p37", "About: passage 37 has some words", s["seed"]) for s in row["samples"]
    ]
    assert row["samples"][0]["seed"] != row["samples"][1]["seed"]
    assert row["lineage"]["ai_generated"] is True
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000


def test_status_show_and_plan_speak_json(cli: Cli, job: Path, tmp_path: Path) -> None:
    planned = json.loads(cli("plan", job, "--json", "--sample", 4).out)
    assert (planned["rows"], planned["chunks"], planned["sampled_rows"]) == (100, 7, 4)
    assert not (tmp_path / "run" / "plan.json").exists()
    cli("plan", job, "--pin", "--sample", 0)
    assert json.loads(cli("status", tmp_path / "run", "--json").out)["state"] == "planned"
    cli("run", job, "--inline")
    status = json.loads(cli("status", tmp_path / "run", "--json").out)
    assert status["state"] == "finished"
    assert status["chunks"] == {"total": 7, "committed": 7}
    assert status["rows"] == {"total": 100, "accepted": 100, "rejected": 0, "failed": 0}
    assert status["usage"]["output_tokens"] == 200
    rows = [json.loads(line) for line in cli("show", tmp_path / "run", "-n", 2, "--json").out.splitlines()]
    assert [row["row_id"] for row in rows] == ["p0", "p1"]


def test_a_budget_stops_cleanly_and_the_same_command_resumes(cli: Cli, job: Path, tmp_path: Path) -> None:
    slow = (
        "--set",
        "models.writer.options={delay_s: 0.25, concurrency: 16}",
        "--set",
        "execution.chunks_in_flight=1",
    )
    stopped = cli("run", job, "--inline", *slow, "--budget-s", 0.6)
    assert stopped.code == 130
    assert "Run the same command again" in stopped.err
    status = json.loads(cli("status", tmp_path / "run", "--json").out)
    assert status["state"] == "interrupted"
    assert 0 < status["chunks"]["committed"] < 7
    done = cli("run", job, "--inline")
    assert done.code == 0
    assert f"{status['chunks']['committed']} of 7 chunks are committed" in done.err
    again = cli("run", job, "--inline")
    assert (again.code, "nothing to do" in again.err) == (0, True)


def test_failed_rows_end_with_3_and_retry_merges_them(
    cli: Cli, job: Path, tmp_path: Path, passages: Path
) -> None:
    table = pq.read_table(passages)
    long = ["word " * 50 if n in (3, 4, 80) else t for n, t in enumerate(table.column("text").to_pylist())]
    pq.write_table(table.set_column(1, "text", [long]), passages)
    done = cli("run", job, "--inline", "--set", "models.writer.options={context_tokens: 20}")
    assert done.code == 3
    assert "97 accepted, 0 rejected, 3 failed" in done.out
    failed = cli("show", tmp_path / "run", "--status", "failed").out
    assert "prompt_too_long" in failed
    assert cli("retry", tmp_path / "run", "--errors-only", "--inline").code == 3
    merged = cli(
        "retry",
        tmp_path / "run",
        "--errors-only",
        "--inline",
        "--set",
        "models.writer.options={context_tokens: 99}",
    )
    assert merged.code == 0, merged.err
    rows = raygen.open_run(str(tmp_path / "run")).to_arrow()
    assert rows.column("row_id").to_pylist() == [f"p{n}" for n in range(100)]
    assert set(rows.column("status").to_pylist()) == {"accepted"}
    assert "nothing to retry" in cli("retry", tmp_path / "run", "--errors-only", "--inline").err
    assert json.loads(cli("verify", tmp_path / "run", "--json").out)["ok"]


def test_export_writes_each_row_once(cli: Cli, job: Path, tmp_path: Path) -> None:
    cli("run", job, "--inline")
    for kind in ("jsonl", "parquet", "webdataset"):
        done = cli("export", tmp_path / "run", "--format", kind, "--to", tmp_path / kind)
        assert "100 rows in 1 file:" in done.out, done.err
        assert cli("export", tmp_path / "run", "--format", kind, "--to", tmp_path / kind).code == 2
    lines = (tmp_path / "jsonl" / "part-00000.jsonl").read_text().splitlines()
    assert [json.loads(line)["row_id"] for line in lines] == [f"p{n}" for n in range(100)]


def test_verify_replays_and_notices_a_flipped_bit(cli: Cli, job: Path, tmp_path: Path) -> None:
    cli("run", job, "--inline")
    good = json.loads(cli("verify", tmp_path / "run", "--replay", "30%", "--json").out)
    assert (good["ok"], good["rows"], good["differing"], good["source_checked"]) == (True, 100, 0, True)
    assert 10 < good["replayed"] < 60
    data = sorted((tmp_path / "run" / "data").iterdir())[2]
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 1
    data.write_bytes(content)
    bad = cli("verify", tmp_path / "run", "--json")
    assert bad.code == 1
    assert data.name in json.loads(bad.out)["problems"][0]
    content[len(content) // 2] ^= 1
    data.write_bytes(content)
    commit = tmp_path / "run" / "commits" / "00000003.json"
    commit.write_bytes(commit.read_bytes().replace(b'"rows":16', b'"rows":17'))
    assert "00000003.json" in json.loads(cli("verify", tmp_path / "run", "--json").out)["problems"][0]


def test_verify_notices_a_model_that_answers_otherwise(
    cli: Cli, job: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    cli("run", job, "--inline")
    monkeypatch.setattr("raygen.engines.echo.echo_text", lambda *_: "something else")
    found = json.loads(cli("verify", tmp_path / "run", "--replay", "10%", "--json").out)
    assert found["differing"] == found["replayed"] > 0


def test_collect_says_what_it_would_remove(cli: Cli, job: Path, tmp_path: Path) -> None:
    cli("run", job, "--inline")
    orphan = tmp_path / "run" / "data" / "00000001-0123456789abcdef.parquet"
    orphan.write_bytes(b"x")
    assert "younger than 24h" in cli("collect", tmp_path / "run").out
    assert (
        "would remove 1 object, 1 byte" in cli("collect", tmp_path / "run", "--grace", "0s", "--dry-run").out
    )
    assert orphan.exists()
    assert "removed 1 object, 1 byte" in cli("collect", tmp_path / "run", "--grace", "0s").out
    assert not orphan.exists()
    assert json.loads(cli("verify", tmp_path / "run", "--json").out)["ok"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "steps.0.generate.prompt='{{ txet }}'"], ["txet", "'text'", "id, text, topic"]),
        (["--set", "keep=[tpoic]"], ["keep", "tpoic", "'topic'"]),
        (["--set", "steps.0.generate.prompt='{{ text '"], ["steps.0.generate.prompt"]),
        (["--set", "source.key=topic"], ["topic", "t0"]),
        (["--input", "/nowhere/at/all.parquet"], ["/nowhere/at/all.parquet"]),
        (["--set", "seede=1"], ["seede", "seed"]),
        (["--set", "output=ftp://x/y"], ["ftp", "s3://"]),
    ],
)
def test_wrong_configuration_ends_with_2_before_any_work(
    cli: Cli, job: Path, tmp_path: Path, arguments: list[str], words: list[str]
) -> None:
    refused = cli("run", job, "--inline", *arguments)
    assert refused.code == 2
    assert refused.err.count("\n") == 1
    for word in words:
        assert word in refused.err
    assert not (tmp_path / "run" / "plan.json").exists()


def test_another_jobs_run_is_refused_and_what_differs_is_named(cli: Cli, job: Path, passages: Path) -> None:
    cli("run", job, "--inline")
    changed = cli("run", job, "--inline", "--set", "seed=8")
    assert (changed.code, "seed was 0, now 8" in changed.err) == (2, True)
    pq.write_table(pq.read_table(passages).slice(0, 99), passages)
    inputs = cli("run", job, "--inline")
    assert (inputs.code, "passages.parquet has changed" in inputs.err) == (2, True)


def test_no_run_there_is_said_in_one_line(cli: Cli, tmp_path: Path) -> None:
    for command in (
        ["status"],
        ["show"],
        ["verify"],
        ["collect"],
        ["retry", "--errors-only"],
        ["export", "--to", tmp_path / "x"],
    ):
        refused = cli(command[0], tmp_path / "nothing", *command[1:])
        assert refused.code == 2, command
        assert refused.err.count("\n") == 1
        assert "nothing" in refused.err
    assert not (tmp_path / "nothing").exists()


def test_ctrl_c_keeps_what_is_committed(cli: Cli, job: Path, tmp_path: Path) -> None:
    slow = (
        "--set",
        "models.writer.options={delay_s: 0.3, concurrency: 16}",
        "--set",
        "execution.chunks_in_flight=1",
    )
    command = [sys.executable, "-m", "raygen", "run", str(job), "--inline", *slow]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline_s = time.monotonic() + 60
    while not list((tmp_path / "run" / "commits").glob("*")) and time.monotonic() < deadline_s:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "again to resume" in err
    assert "Traceback" not in err
    committed = len(list((tmp_path / "run" / "commits").glob("*")))
    assert 0 < committed < 7
    assert json.loads(cli("status", tmp_path / "run", "--json").out)["state"] == "interrupted"
    assert cli("run", job, "--inline").code == 0


@pytest.mark.parametrize("code", ["import raygen", "import raygen.__main__ as it; it.main()"])
def test_import_and_help_load_no_library_that_is_slow_to_load(code: str) -> None:
    light = "{'raygen', 'typer', 'click', 'rich', 'typing_extensions', 'shellingham', 'annotated_doc', 'colorama'}"
    seen = f"{{m.partition('.')[0] for m in sys.modules.keys() - before}} - {light} - sys.stdlib_module_names"
    command = f"""
import sys
before = set(sys.modules)  # an editable install's own, too
try:
    {code}
except SystemExit:
    pass
print(sorted({seen}), file=sys.stderr)
"""
    done = subprocess.run(
        [sys.executable, "-c", command, "--help"], capture_output=True, text=True, check=True
    )
    assert done.stderr == "[]\n"


def test_a_broken_engine_ends_the_run_in_one_line_and_does_not_wait_for_other_chunks(
    job: Path, tmp_path: Path
) -> None:
    code = """
import asyncio, sys
from raygen.engines.echo import EchoEngine
from raygen.errors import EngineError
async def generate(self, request):
    if request.row_id == 'p40':
        raise EngineError('the model is gone')
    await asyncio.sleep(0 if int(request.row_id[1:]) < 30 else 3600)
    return await plain(self, request)
plain, EchoEngine.generate = EchoEngine.generate, generate
from raygen.cli.app import main
main()
"""
    command = [
        sys.executable,
        "-c",
        code,
        "run",
        str(job),
        "--inline",
        "--set",
        "execution.chunks_in_flight=3",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (1, "raygen: error: the model is gone\n")


def test_a_row_that_breaks_its_template_fails_alone_and_the_report_is_written(
    cli: Cli, job: Path, tmp_path: Path
) -> None:
    bomb = "steps.0.generate.prompt=\"{{ text * (99999999999 if text.startswith('passage 7 ') else 1) }}\""
    done = cli("run", job, "--inline", "--set", bomb)
    assert done.code == 3, done.err
    assert "99 accepted, 0 rejected, 1 failed" in done.out
    assert (tmp_path / "run" / "report.html").exists()
    row = json.loads(cli("show", tmp_path / "run", "--status", "failed", "--json").out)
    assert (row["row_id"], row["reason"]) == ("p7", "template_error")


def test_where_every_row_is_rejected_it_is_said_how_to_see_why(cli: Cli, job: Path, tmp_path: Path) -> None:
    never = "steps=[{generate: {model: writer, prompt: x}}, {verify: {matches: {pattern: never}}}]"
    done = cli("run", job, "--inline", "--max-rows", "3", "--set", never)
    assert done.code == 0, done.err
    assert f"see why rows were rejected: raygen show {tmp_path / 'run'} --status rejected" in done.err


def test_an_output_behind_a_file_is_refused(cli: Cli, job: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    refused = cli("run", job, "--inline", "--output", tmp_path / "file")
    assert (refused.code, refused.err.count("\n")) == (2, 1)


def test_a_source_without_readable_rows_is_refused(cli: Cli, job: Path, tmp_path: Path) -> None:
    (tmp_path / "junk.jsonl").write_bytes(b"\x00\x01\n" * 5)
    (tmp_path / "empty.jsonl").write_bytes(b"")
    for name, words in (
        (
            "junk",
            "none of the first rows can be read as jsonl; the first: junk.jsonl, line 1: unexpected character",
        ),
        ("empty", "no rows"),
    ):
        refused = cli(
            "run", job, "--inline", "--set", "source={format: jsonl}", "--input", tmp_path / f"{name}.jsonl"
        )
        assert (refused.code, words in refused.err) == (2, True), refused.err
