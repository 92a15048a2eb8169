"""The reference is whole: every key of jobs, recipes and engines says what it means, every command and column is there."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from raygen.engines import ENGINES, engine_facts
from raygen.models.families import trained_families
from raygen.program.job import Job
from raygen.runs.outcome import FIELDS, SAMPLE
from raygen.train.families.lessons import objective_class
from raygen.train.recipe import Recipe

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
SCHEMAS = {
    "job": Job.model_json_schema(),
    "recipe": Recipe.model_json_schema(),
    **{f"objective of {name}": objective_class(name).model_json_schema() for name in trained_families()},
    **{f"batch of {name}": objective_class(name).Batch.model_json_schema() for name in trained_families()},
    **{name: engine_facts(name).Options.model_json_schema() for name in ENGINES.own},
}


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference", DOCS / "hooks" / "reference.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def keys(name: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield every key of a schema with the model that has it."""
    whole = SCHEMAS[name]
    for model, schema in {name: whole, **whole.get("$defs", {})}.items():
        for key, each in schema.get("properties", {}).items():
            yield model, key, each


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_key_says_what_it_means(name: str, reference: ModuleType) -> None:
    models = SCHEMAS[name].get("$defs", {})
    silent = [f"{model}.{key}" for model, key, each in keys(name) if not reference.words(each, models)]
    assert silent == [], "give these fields a description"


@pytest.mark.parametrize("name", ["job", "recipe"])
def test_every_key_of_every_model_is_in_the_reference(name: str, reference: ModuleType) -> None:
    page = reference.PAGES[name]()
    for model, key, _ in keys(name):
        part = page if model == name else page.split(f"## {model} {{")[1].split("\n## ")[0]
        assert f"| `{key}` |" in part, f"{model}.{key}"


@pytest.mark.parametrize("name", [name for name in SCHEMAS if " of " in name])
def test_what_is_the_familys_is_in_the_reference(name: str, reference: ModuleType) -> None:
    part = reference.recipe().split(f"### {name}\n")[1].split("\n##")[0]
    assert all(f"| `{key}` |" in part for _, key, _ in keys(name))


def test_every_engine_has_its_options(reference: ModuleType) -> None:
    page = reference.engines()
    for name in ENGINES.own:
        part = page.split(f"## {name}\n")[1].split("\n## ")[0]
        assert all(f"| `{key}` |" in part for model, key, _ in keys(name) if model == name)


def test_every_column_of_outcomes_has_its_type(reference: ModuleType) -> None:
    page = reference.outcomes()
    for field in (*FIELDS, *SAMPLE):
        assert re.search(rf"^\| `{field.name}` \| .*\w.* \|", page, re.MULTILINE), field.name
    assert "| `seed` | `int64` |" in page
    assert "among those asked for together" in page, "what the code's comments say is part of it"


def test_every_command_and_exit_code_is_there(reference: ModuleType) -> None:
    page, codes = reference.cli(), reference.exit_codes()
    assert "## raygen run\n" in page
    assert "| `--max-rows" in page
    assert "## raygen models pull\n" in page
    assert re.findall(r"^\| `(\d+)` \| \w", codes, re.MULTILINE) == ["0", "3", "4", "2", "130", "1"]


def test_what_markdown_would_eat_is_written_out(reference: ModuleType) -> None:
    assert reference.cell("runs/<name>, a|b, *") == "runs/&lt;name>, a\\|b, \\*"
    assert reference.cell("`<think>`") == "`<think>`"


def test_every_mark_on_a_page_is_one_that_is_filled_in(reference: ModuleType) -> None:
    marks = {
        mark
        for path in DOCS.rglob("*.md")
        for mark in re.findall(r"<!-- generated: ([\w-]+) -->", path.read_text())
    }
    assert marks == set(reference.PAGES)


def test_every_page_has_its_place_in_the_site() -> None:
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    named = set(re.findall(r"[\w/-]+\.md", str(site["nav"])))
    pages = {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")}
    assert {page for page in pages if not page.startswith("decisions/0")} <= named
    assert named - pages == {"readme.md", "contributing.md", "changelog.md", "security.md"}


def test_every_public_name_is_in_the_reference(reference: ModuleType) -> None:
    assert "::: raygen.review.verify.verify_run" in reference.api()
