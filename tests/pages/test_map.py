"""docs/map.md is true: a section a room with the room's own docstring first, then one line a file, from the file's first line.

To write it anew: RAYGEN_WRITE_MAP=1 python -m pytest tests/pages/test_map.py
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from pathlib import Path

from tests.pages.test_stairs import GROUND, the_stairs

ROOT = Path(__file__).parents[2]
MAP = ROOT / "docs" / "map.md"
# From the door down: a room imports only rooms below its own step.
ROOMS = tuple(room for room in the_stairs() if room != GROUND)
BESIDE = {
    "jobs": "Ready jobs, and recipes for training.",
    "benchmarks": "The benchmarks: every figure of [the log](log.md) is a command here.",
}
HEAD = """\
# Map

Every file of raygen, its jobs and benchmarks, one line each, in the order of the [stairs](stairs.md): a room imports only from
rooms below it. A room's own words come first:
what it is, what it promises ("Contract"), and where to start reading. `tests/pages/test_map.py` writes this page from
the docstrings and checks it.
"""


def docstring(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text())) or ""


def described(path: Path) -> str:
    if path.suffix == ".py":
        return " ".join(docstring(path).split("\n\n")[0].split())
    first = path.read_text().splitlines()[0]
    return first.lstrip("#{ ").removesuffix("#}").strip()


def escaped(text: str) -> str:
    """Return the text with what Markdown would read as markup made literal; `code` stays code."""
    parts = re.split(r"(`[^`\n]+`)", text)
    return "".join(
        part if part[:1] == "`" else re.sub(r"([*<\[\]|]|\b_|_\b)", r"\\\1", part) for part in parts
    )


def files_of(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.iterdir()
        if path.is_file() and path.suffix in (".py", ".j2", ".yaml") and path.name != "__init__.py"
    )


def folders_of(folder: Path) -> list[Path]:
    """Return the folders of a folder; one that holds compiled files alone is what an earlier version has left behind."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.is_dir() and any(file.suffix not in ("", ".pyc") for file in path.rglob("*"))
    )


def room_words(words: str, folder: Path) -> str:
    """Return a room's docstring as Markdown, with links to the files that it names."""

    def linked(name: re.Match[str]) -> str:
        path = folder / name[0]
        return f"[`{name[0]}`](../{path.relative_to(ROOT)})" if path.is_file() else name[0]

    words = escaped(words.strip()).replace("\nStart reading", "  \nStart reading")
    words = re.sub(r"\bdocs/(decisions/[\w-]+\.md)", r"[\1](\1)", words)
    return re.sub(r"\b[a-z0-9_/]+\.py\b", linked, words)


def section(folder: Path, level: int) -> Iterator[str]:
    """Yield a folder's section, then those of the folders in it."""
    files, init = files_of(folder), folder / "__init__.py"
    inner = [line for each in folders_of(folder) for line in section(each, level + 1)]
    if files or inner:
        yield f"\n{'#' * level} {folder.relative_to(ROOT)}/\n\n"
        words = docstring(init) if init.is_file() else BESIDE.get(str(folder.relative_to(ROOT)), "")
        if words:
            yield room_words(words, folder) + "\n\n"
        for path in files:
            yield f"- [`{path.name}`](../{path.relative_to(ROOT)}): {escaped(described(path))}\n"
        yield from inner


def the_map() -> str:
    raygen = ROOT / "raygen"
    lines = [HEAD]
    for room in ROOMS:
        if (raygen / room).is_dir():
            lines += section(raygen / room, 2)
    face = [raygen / "__init__.py", raygen / "__main__.py"]
    ground = [path for path in files_of(raygen) if path not in face]
    for title, paths in (
        ("The face\n\nWhat `import raygen` and `python -m raygen` offer; no room imports it.", face),
        ("Ground\n\nWhat every room may use; it knows no room.", ground),
    ):
        lines.append(f"\n## {title}\n\n")
        lines += (
            f"- [`{path.name}`](../{path.relative_to(ROOT)}): {escaped(described(path))}\n" for path in paths
        )
    for name in BESIDE:
        lines += section(ROOT / name, 2)
    return "".join(lines)


def test_the_map_is_true() -> None:
    if os.environ.get("RAYGEN_WRITE_MAP"):
        MAP.write_text(the_map())
    assert MAP.read_text() == the_map(), "RAYGEN_WRITE_MAP=1 python -m pytest tests/pages/test_map.py"


def test_every_room_has_its_place_on_the_stairs_and_says_where_to_start() -> None:
    assert {path.name for path in folders_of(ROOT / "raygen")} <= set(ROOMS)
    for path in sorted((ROOT / "raygen").rglob("__init__.py")):
        assert docstring(path), f"{path} says nothing"
        start = docstring(path).partition("Start reading")[2]
        for name in re.findall(r"\b([a-z0-9_/]+\.py)\b", start):
            assert (path.parent / name).is_file(), f"{path} says to start at {name}, which is not there"


def test_every_file_says_what_it_is_and_stays_small() -> None:
    for path in sorted((ROOT / "raygen").rglob("*.py")):
        assert described(path), f"{path} has no docstring"
        assert len(path.read_text().splitlines()) <= 330, f"{path} is too long: one noun a file"
