"""The pages beside the README are true: links lead somewhere, commands exist, versions are those of the code, examples run."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import raygen
from raygen.runs.outcome import SCHEMA_VERSION
from raygen.runs.plan import PLAN_VERSION
from tests.steps.scripted import Writer, job_of, run

ROOT = Path(__file__).parents[2]
PAGES = ("CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")


@pytest.mark.parametrize("page", PAGES)
def test_files_and_make_targets_that_are_named_exist(page: str) -> None:
    text = (ROOT / page).read_text()
    for name in re.findall(r"`((?:raygen|tests)/[a-z0-9_./]+)`", text):
        assert (ROOT / name).exists(), name
    targets = re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    named = re.findall(r"(?:`|^)make ([a-z][a-z-]*)", text, flags=re.MULTILINE)
    named += re.findall(r"`(bench-[a-z]+)`", text)
    assert set(named) <= set(targets)


def test_the_version_is_one() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    changelog = re.findall(r"^## \[([^\]]+)\]", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert project["version"] == raygen.__version__ == citation["version"]
    assert changelog[:2] == ["Unreleased", raygen.__version__]


def test_the_tested_versions_are_ones_that_the_package_takes() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = (ROOT / "docs" / "tested-versions.txt").read_text().splitlines()
    tested = {
        canonicalize_name(name): version
        for name, _, version in (line.partition("==") for line in lines if line and line[0] != "#")
    }
    extras = project["optional-dependencies"]
    wanted = [
        Requirement(line)
        for group in (project["dependencies"], *(extras[name] for name in extras if name != "vllm"))
        for line in group
    ]
    for each in wanted:
        if each.name != "raygen":
            assert canonicalize_name(each.name) in tested, f"{each.name} is not in docs/tested-versions.txt"
            assert each.specifier.contains(tested[canonicalize_name(each.name)]), each


def test_the_changelog_tells_of_the_versions_of_what_is_stored() -> None:
    unreleased = (ROOT / "CHANGELOG.md").read_text().split("\n## ")[1]
    assert "### Compatibility" in unreleased
    assert f"schema {SCHEMA_VERSION}" in unreleased
    assert f"version {PLAN_VERSION}" in unreleased


def test_the_example_of_a_check_finds_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = re.search(
        r"```python\n(# my_package/shouting.py.*?)```",
        (ROOT / "docs" / "own.md").read_text(),
        flags=re.DOTALL,
    )
    assert code, "docs/own.md shows no check"
    (tmp_path / "shouting.py").write_text(code[1])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    texts = ("Quite calm.", "WHAT IS this", "?!")
    job = job_of(
        {"generate": {"model": "writer", "prompt": "{{ text }}", "samples": 3}},
        {"verify": {"shouting:ShoutingCheck": {"at_most": 0.5}}},
    )
    found = run(job, Writer(lambda prompt, number: texts[number]), text="x")
    assert [sample["text"] for sample in found.samples] == ["Quite calm.", "?!"]
    assert found.attempts[4]["detail"] == "60% are capitals; at most 50% are wanted"
