"""The JSON schemas of jobs and recipes, which editors read, are those of the code; ready files keep to them.

To write them anew: RAYGEN_WRITE_SCHEMA=1 python -m pytest tests/pages/test_schemas.py
"""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
FILES = [
    *(("job.schema.json", path) for path in sorted((ROOT / "jobs").glob("*.yaml"))),
    *(("recipe.schema.json", path) for path in sorted((ROOT / "jobs" / "recipes").glob("*.yaml"))),
]


def the_code() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference", DOCS / "hooks" / "reference.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def stored(name: str) -> Any:
    return json.loads((DOCS / name).read_text())


@pytest.mark.parametrize("name", ["job.schema.json", "recipe.schema.json"])
def test_the_schema_is_the_codes(name: str) -> None:
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **the_code().SCHEMAS[name]()}
    text = json.dumps(schema, indent=1, ensure_ascii=False) + "\n"
    if os.environ.get("RAYGEN_WRITE_SCHEMA"):
        (DOCS / name).write_text(text)
    assert (DOCS / name).read_text() == text, (
        "RAYGEN_WRITE_SCHEMA=1 python -m pytest tests/pages/test_schemas.py"
    )
    jsonschema.Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize(("schema", "path"), FILES, ids=lambda each: getattr(each, "name", each))
def test_ready_files_keep_to_it(schema: str, path: Path) -> None:
    jsonschema.validate(yaml.safe_load(path.read_text()), stored(schema))


@pytest.mark.parametrize(
    ("schema", "path", "place", "key"),
    [
        ("job.schema.json", "jobs/openai_endpoint.yaml", ("source",), "formt"),
        ("job.schema.json", "jobs/openai_endpoint.yaml", ("models", "writer", "options"), "base_ulr"),
        ("job.schema.json", "jobs/openai_endpoint.yaml", ("steps", 0, "generate"), "sampels"),
        ("recipe.schema.json", "jobs/recipes/grounding.yaml", ("objective",), "completion"),
        ("recipe.schema.json", "jobs/recipes/python_docs_lm.yaml", ("batch",), "pixels"),
    ],
)
def test_a_key_that_is_wrong_is_marked(schema: str, path: str, place: tuple[Any, ...], key: str) -> None:
    given = yaml.safe_load((ROOT / path).read_text())
    part = given
    for each in place:
        part = part[each]
    part[key] = 1
    with pytest.raises(jsonschema.ValidationError, match=key):
        jsonschema.validate(given, stored(schema))
