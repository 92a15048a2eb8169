"""Another package, once it is installed, offers one thing of each kind by name; no line of raygen knows it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import raygen

PACKAGE = Path(__file__).with_name("shouting")
ROOT = Path(__file__).parents[2]
JOB = {
    "name": "loud",
    "source": {"format": "jsonl", "uri": "in.jsonl", "key": "id"},
    "models": {"shouter": {"family": "causal_lm", "engine": "shout"}},
    "steps": [
        {"generate": {"model": "shouter", "prompt": "{{ text }}", "samples": 4}},
        {"verify": {"loud": {"at_least": 1}}},
        {"hush": {"at_most": 2}},
        {"score": {"loudness": "marks"}},
        {"select": {"best": "score"}},
    ],
}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory into which pip has installed the package, without a network."""
    folder = tmp_path_factory.mktemp("outside")
    shutil.copytree(PACKAGE, folder / "source")  # where pip leaves what it builds
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--no-build-isolation",
    ]
    subprocess.run([*command, "--target", str(folder / "site"), str(folder / "source")], check=True)
    return folder / "site"


def raygen_with(site: Path | None, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    paths = [str(ROOT), *([str(site)] if site else [])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.run(
        [sys.executable, "-m", "raygen", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )


def write_job(folder: Path, job: dict[str, object]) -> None:
    (folder / "job.yaml").write_text(yaml.safe_dump(job))
    rows = [{"id": "a", "text": "hello you"}, {"id": "b", "text": "fire"}]
    (folder / "in.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def test_its_engine_step_check_and_score_work_in_a_job(installed: Path, tmp_path: Path) -> None:
    write_job(tmp_path, JOB)
    done = raygen_with(installed, tmp_path, "run", "job.yaml", "--inline", "-q")
    assert done.returncode == 0, done.stderr
    rows = {row["row_id"]: row for row in raygen.open_run(str(tmp_path / "runs" / "loud")).rows()}
    assert [sample["text"] for sample in rows["a"]["samples"]] == ["HELLO YOU!!"]
    assert rows["b"]["samples"][0]["scores"] == {"score": 2.0}
    decisions = {(each["step"], each["decision"]) for each in rows["a"]["attempts"]}
    assert {("verify", "too_quiet"), ("hush", "too_loud"), ("hush", "quiet")} <= decisions


def test_without_the_package_the_job_is_refused_with_what_there_is(tmp_path: Path) -> None:
    write_job(tmp_path, JOB)
    refused = raygen_with(None, tmp_path, "run", "job.yaml", "--inline")
    assert refused.returncode == 2
    assert "shout" in refused.stderr
    assert "echo, encoder, openai, torch, vllm" in refused.stderr


def test_a_wrong_key_of_its_description_is_refused_by_name(installed: Path, tmp_path: Path) -> None:
    steps = [JOB["steps"][0], {"verify": {"loud": {"at_leest": 1}}}]  # type: ignore[index]
    write_job(tmp_path, {**JOB, "steps": steps})
    refused = raygen_with(installed, tmp_path, "run", "job.yaml", "--inline")
    assert refused.returncode == 2
    assert "at_leest" in refused.stderr
    assert "at_least" in refused.stderr


def test_they_can_be_named_in_full(installed: Path, tmp_path: Path) -> None:
    steps = [JOB["steps"][0], {"verify": {"shouting.checks:LoudCheck": {"at_least": 3}}}]  # type: ignore[index]
    models = {"shouter": {"family": "causal_lm", "engine": "shouting.engine:ShoutEngine"}}
    write_job(tmp_path, {**JOB, "models": models, "steps": steps})
    done = raygen_with(installed, tmp_path, "run", "job.yaml", "--inline", "-q")
    assert done.returncode == 0, done.stderr
    (row, _) = raygen.open_run(str(tmp_path / "runs" / "loud")).rows()
    assert [sample["text"] for sample in row["samples"]] == ["HELLO YOU!!!"]


def test_what_its_engine_counts_is_counted_and_has_budgets(installed: Path, tmp_path: Path) -> None:
    write_job(tmp_path, JOB)
    planned = raygen_with(installed, tmp_path, "plan", "job.yaml", "--budget", "marks=6")
    assert planned.returncode == 0, planned.stderr
    assert "about 3 prompt and 12 output tokens, 12 marks" in planned.stdout
    assert "6 marks reach about 1 row" in planned.stdout
    refused = raygen_with(installed, tmp_path, "run", "job.yaml", "--budget", "mark=6")
    assert (refused.returncode, "no unit 'mark' (did you mean 'marks'?)" in refused.stderr) == (2, True)


def test_its_format_family_and_export_work_in_a_run(installed: Path, tmp_path: Path) -> None:
    models = {"shouter": {"family": "shouter", "engine": "shout"}}
    source = {"format": "words", "uri": "words.txt"}
    steps = [{"generate": {"model": "shouter", "prompt": "{{ text }}"}}]
    write_job(
        tmp_path, {**JOB, "models": models, "source": source, "steps": steps, "sink": {"chunk_rows": 2}}
    )
    (tmp_path / "words.txt").write_text("fire in the\n hole")
    done = raygen_with(installed, tmp_path, "run", "job.yaml", "--inline", "-q")
    assert done.returncode == 0, done.stderr
    out = tmp_path / "out"
    done = raygen_with(installed, tmp_path, "export", "runs/loud", "--format", "shouts", "--to", str(out))
    assert done.returncode == 0, done.stderr
    (file,) = out.glob("*.txt")
    assert file.read_text() == "FIRE\nIN\nTHE\nHOLE\n"
