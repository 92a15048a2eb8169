"""Templates: each is a valid job or recipe, is written with what it needs, and overwrites nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raygen import templates as module
from raygen.errors import UserError
from raygen.program.job import load_job
from raygen.templates import templates, write_template
from raygen.train.recipe import load_recipe

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", templates())
def test_each_is_valid_where_it_is_written_and_has_the_data_that_comes_with_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    template, written, _ = write_template(name, Path("."))
    assert Path(template.path) in written
    loaded: Any = load_recipe(template.path) if template.kind == "recipe" else load_job(template.path)
    for uri in loaded.source.uris:
        assert not uri.startswith("jobs/") or Path(uri).exists()
    assert template.summary.endswith(".")
    for line in template.notes:
        for recipe in (word for word in line.split() if word.startswith("jobs/recipes/")):
            assert Path(recipe).exists()


def test_all_are_listed(cli: Callable[..., Any]) -> None:
    listed = cli("init")
    assert listed.code == 0
    assert {line.split()[0] for line in listed.out.splitlines()[:-1]} == set(templates())
    assert {each.path for each in templates().values()} == {
        str(path.relative_to(ROOT)) for path in (ROOT / "jobs").rglob("*.yaml")
    }


def test_a_first_run_takes_two_commands(
    cli: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = cli("init", "hello")
    assert done.out.splitlines()[:2] == ["wrote jobs/hello.yaml", "wrote jobs/data/hello.jsonl"]
    assert done.out.splitlines()[-1] == "next: raygen run jobs/hello.yaml"
    assert cli("run", "jobs/hello.yaml", "--inline").code == 0
    again = cli("init", "hello")
    assert again.code == 0
    assert "there already: jobs/hello.yaml" in again.out


def test_nothing_is_overwritten(cli: Callable[..., Any], tmp_path: Path) -> None:
    write_template("hello", tmp_path)
    job, data = tmp_path / "jobs" / "hello.yaml", tmp_path / "jobs" / "data" / "hello.jsonl"
    data.unlink()
    job.write_text("mine")
    refused = cli("init", "hello", "--to", tmp_path)
    assert refused.code == 2
    assert f"{job} is there already" in refused.err
    assert job.read_text() == "mine"
    assert not data.exists()


def test_an_unknown_name_is_answered_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no template '\.\./hello'; templates: augment_nli, "):
        write_template("../hello", tmp_path)


def test_an_installation_without_templates_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "_root", lambda: tmp_path)
    with pytest.raises(UserError, match="without templates"):
        templates()


def test_a_wheel_carries_them_and_the_other_files_that_are_no_code(tmp_path: Path) -> None:
    build = [
        "setup.py",
        "-q",
        "egg_info",
        "--egg-base",
        tmp_path,
        "build_py",
        "--build-lib",
        tmp_path / "lib",
    ]
    subprocess.run([sys.executable, *map(str, build)], cwd=ROOT, check=True, capture_output=True)
    built = tmp_path / "lib" / "raygen"
    code = "import raygen.templates as t; print(t.__file__, *(x.path for x in t.templates().values()))"
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "lib")}
    place, *paths = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, check=True, capture_output=True, text=True
    ).stdout.split()
    assert Path(place).is_relative_to(built)
    assert paths == [each.path for each in templates().values()]
    for path in [*(ROOT / "raygen").rglob("*.j2"), ROOT / "raygen" / "py.typed"]:
        assert (built / path.relative_to(ROOT / "raygen")).exists()
