"""The examples in docstrings are true: every one that stands in the code is run."""

from __future__ import annotations

import ast
import doctest
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def with_examples() -> list[str]:
    """Return the modules in whose docstrings an example stands; the others are not imported for this."""
    found = []
    for path in sorted((ROOT / "raygen").rglob("*.py")):
        text = path.read_text()
        if ">>> " in text and any(
            ">>> " in (ast.get_docstring(node) or "")
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        ):
            found.append(".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"))
    return found


@pytest.mark.parametrize("name", with_examples())
def test_examples_in_docstrings_are_true(name: str) -> None:
    done = doctest.testmod(import_module(name))
    assert done.failed == 0
    assert done.attempted > 0, "an example in a docstring that doctest does not find"


def test_examples_are_found() -> None:
    assert "raygen.steps.tools.excerpt" in with_examples()
    assert "raygen.errors" not in with_examples()
