"""The README is true: what it names exists, and its examples run."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import yaml

from tests.steps.scripted import Writer, job_of, run

ROOT = Path(__file__).parents[1]


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
