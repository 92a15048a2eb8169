"""The README's map of the house is true: one line a file, taken from the file's own first line.

To write it anew: RAYGEN_WRITE_MAP=1 python -m pytest tests/test_readme.py
"""

from __future__ import annotations

import ast
import os
import re
import sys
from pathlib import Path

import pytest
import yaml

from tests.steps.scripted import Writer, job_of, run

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- map: begin -->", "<!-- map: end -->"


def described(path: Path) -> str:
    if path.suffix == ".py":
        text = ast.get_docstring(ast.parse(path.read_text())) or ""
        return " ".join(text.split("\n\n")[0].split())
    first = path.read_text().splitlines()[0]
    return first.lstrip("#{ ").removesuffix("#}").strip()


def the_map() -> str:
    files = [
        path
        for folder, pattern in (("raygen", "*.py"), ("raygen", "*.j2"), ("jobs", "*"), ("benchmarks", "*.py"))
        for path in sorted((ROOT / folder).rglob(pattern))
        if path.is_file() and path.suffix in (".py", ".j2", ".yaml")
    ]
    lines = [f"{path.relative_to(ROOT)!s:38} {described(path)}" for path in files]
    return "\n".join([BEGIN, "```", *lines, "```", END])


def test_map_of_the_house_is_true() -> None:
    readme = (ROOT / "README.md").read_text()
    if os.environ.get("RAYGEN_WRITE_MAP"):
        readme = re.sub(f"{BEGIN}.*{END}", lambda _: the_map(), readme, flags=re.DOTALL)
        (ROOT / "README.md").write_text(readme)
    found = re.search(f"{BEGIN}.*{END}", readme, flags=re.DOTALL)
    assert found, "the README has no map"
    assert found[0] == the_map()


def test_every_file_says_what_it_is_and_stays_small() -> None:
    for path in sorted((ROOT / "raygen").rglob("*.py")):
        assert described(path), f"{path} has no docstring"
        assert len(path.read_text().splitlines()) <= 330, f"{path} is too long: one noun a file"


def test_the_readmes_make_targets_exist() -> None:
    readme = (ROOT / "README.md").read_text()
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"(?:^|`)make ([a-z][a-z-]*)", readme, flags=re.MULTILINE))
    assert {"demo", "test"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


def test_public_names_are_documented_and_importable() -> None:
    import raygen

    for name in raygen.__all__:
        assert getattr(raygen, name) is not None


def test_the_readmes_own_step_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readme = (ROOT / "README.md").read_text()
    block = re.search(r"```python\n(# house_rules\.py.*?)```\n\n```yaml\n(.*?)```", readme, flags=re.DOTALL)
    assert block, "the README shows no step of one's own"
    (tmp_path / "house_rules.py").write_text(block[1])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    generate = {"generate": {"model": "writer", "prompt": "{{ text }}", "samples": 3}}
    texts = ["a b c", "a b new", "quite other words"]
    found = run(
        job_of(generate, *yaml.safe_load(block[2])),
        Writer(lambda prompt, number: texts[number]),
        text="a b c d",
    )
    assert [sample["text"] for sample in found.samples] == [texts[2]]
    assert sorted(sample["text"] for sample in found.discarded) == texts[:2]
    assert "it repeats the passage" in str(found.attempts)
