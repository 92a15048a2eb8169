"""What cannot run here is at least sound: workflows, issue forms, hooks and the image name what there is, and take no risks."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
FORMS = sorted(path for path in (GITHUB / "ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml")
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))


def read(path: Path) -> dict[Any, Any]:
    found = yaml.safe_load(path.read_text())
    assert isinstance(found, dict), path
    return found


def steps(workflow: dict[Any, Any]) -> Iterator[dict[str, Any]]:
    for job in workflow["jobs"].values():
        yield from job["steps"]


def make_targets(command: str) -> set[str]:
    """Return the targets in a line such as `make check test PYTHON=python${{ matrix.python }}`."""
    return {
        word
        for call in re.findall(r"\bmake ([^&|;\n]+)", re.sub(r"\$\{\{.*?\}\}", "", command))
        for word in call.split()
        if "=" not in word and not word.startswith("-")
    }


def test_there_is_a_workflow_for_checks_the_documentation_tests_and_the_wheel() -> None:
    assert [path.stem for path in WORKFLOWS] == ["check", "docs", "test", "wheel"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_is_whole_and_may_only_read(path: Path) -> None:
    workflow = read(path)
    triggers = workflow[True]  # `on`, as YAML 1.1 reads it
    assert workflow["name"] == path.stem
    assert set(triggers) == {"push", "pull_request"}, (
        "pull_request_target would give secrets to strangers' code"
    )
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert job["runs-on"]
        assert 0 < job["timeout-minutes"] <= 120
    for step in steps(workflow):
        assert ("run" in step) != ("uses" in step), step
        if "uses" in step:
            assert re.fullmatch(r"actions/[a-z-]+@v\d+", step["uses"]), "only GitHub's own actions"
        # What strangers write, such as a branch's name, would be run as a command.
        assert "github.event" not in step.get("run", "")
        assert "github.head_ref" not in step.get("run", "")


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_names_targets_and_files_that_exist(path: Path) -> None:
    for step in steps(read(path)):
        assert make_targets(step.get("run", "")) <= TARGETS
        for name in re.findall(r"\$GITHUB_WORKSPACE/([\w./-]+)", step.get("run", "")):
            assert (ROOT / name).is_file(), name
        for name in step.get("with", {}).get("cache-dependency-path", "").split():
            assert (ROOT / name).is_file(), name


def test_what_decides_here_is_what_the_workflows_call() -> None:
    called = [make_targets(step.get("run", "")) for path in WORKFLOWS for step in steps(read(path))]
    assert set().union(*called) == {"check", "docs", "test"}


def test_all_pythons_that_raygen_takes_are_tested() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    low, high = re.fullmatch(r">=3\.(\d+),<3\.(\d+)", project["requires-python"]).groups()  # type: ignore[union-attr]
    tested = read(GITHUB / "workflows" / "test.yml")["jobs"]["test"]["strategy"]["matrix"]["python"]
    assert tested == [f"3.{minor}" for minor in range(int(low), int(high))]


def test_the_wheels_smoke_job_runs(
    cli: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = next(
        step["run"]
        for step in steps(read(GITHUB / "workflows" / "wheel.yml"))
        if "raygen init" in step.get("run", "")
    )
    monkeypatch.chdir(tmp_path)
    calls = [line.split() for line in commands.splitlines()]
    assert {call[0] for call in calls} == {"clean/bin/raygen"}
    for call in calls:
        if call[1] in ("init", "run", "verify"):
            done = cli(*call[1:])
            assert done.code == 0, done.err
    assert "3 outcomes of 3 rows" in done.out


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_an_issue_form_is_one_that_github_takes(path: Path) -> None:
    form = read(path)
    assert set(form) <= {"name", "description", "title", "labels", "assignees", "body"}
    assert form["name"]
    assert form["description"]
    ids = [field["id"] for field in form["body"] if field["type"] != "markdown"]
    assert ids
    assert len(ids) == len(set(ids))
    for field in form["body"]:
        assert field["type"] in {"markdown", "textarea", "input", "dropdown", "checkboxes"}
        assert field["attributes"].get("value" if field["type"] == "markdown" else "label")


def test_a_bug_comes_with_what_the_doctor_says() -> None:
    doctor = next(
        field for field in read(GITHUB / "ISSUE_TEMPLATE" / "bug.yml")["body"] if field.get("id") == "doctor"
    )
    assert doctor["validations"]["required"] is True


def test_hooks_are_local_and_call_what_there_is() -> None:
    tools = {"ruff", "mypy", "python"}
    for repository in read(ROOT / ".pre-commit-config.yaml")["repos"]:
        assert repository["repo"] == "local", "the tools are those of `make setup`, in one version"
        for hook in repository["hooks"]:
            assert {"id", "name", "entry", "language"} <= set(hook)
            command = hook["entry"].split()[0]
            assert command == "make" or command.removeprefix(".venv/bin/") in tools
            assert make_targets(hook["entry"]) <= TARGETS


def test_the_image_holds_only_what_it_is_made_of_and_runs_as_nobody_special() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    assert [line for line in lines if line.startswith("USER ")] == ["USER raygen"]
    assert lines.index("USER raygen") > max(
        n for n, line in enumerate(lines) if line.startswith(("RUN ", "COPY "))
    )
    assert not [line for line in lines if re.match(r"(ADD|ENV|EXPOSE)\b", line)]
    copied = {name for line in lines if line.startswith("COPY ") for name in line.split()[1:-1]}
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored, "what is not named stays out"
    assert {line[1:] for line in ignored if line.startswith("!")} == copied
    for name in copied:
        assert (ROOT / name).exists(), name


def test_the_package_brings_its_types_and_its_pages() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"]["raygen"]
    beside = [
        path for path in (ROOT / "raygen").rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")
    ]
    assert ROOT / "raygen" / "py.typed" in beside
    for path in beside:
        assert any(path.match(f"raygen/{pattern}") or path.match(pattern) for pattern in patterns), path
