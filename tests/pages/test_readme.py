"""The README is short and leads into the code. Its examples, commands and links: tests/pages/test_docs_pages.py."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_readme_is_short_and_shows_the_way_into_the_code() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 150
    walk = text.split("## Walk through the code")[1].split("\n## ")[0]
    for place in ("runs/commit.py", "engines/torch/sampling.py", "steps/checks/", "docs/own.md"):
        assert place in walk, place


def test_public_names_are_documented_and_importable() -> None:
    import raygen

    for name in raygen.__all__:
        assert getattr(raygen, name) is not None
