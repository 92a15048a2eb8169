"""Imports go down the stairs of docs/stairs.md, and there is no circle, between rooms or inside one."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FACE, GROUND = "the face", "the ground"
Imports = Mapping[str, set[str]]  # module -> the modules that it imports


def stairs(page: str) -> dict[str, int]:
    """Read the table: room -> step, the ground among them."""
    steps: dict[str, int] = {}
    for step, rooms in re.findall(r"^\| (\d+) \| (.*?) \|", page, flags=re.MULTILINE):
        steps |= dict.fromkeys(re.findall(r"`(\w+)`", rooms.partition(":")[0]) or [GROUND], int(step))
    return steps


def imports_of(root: Path) -> dict[str, set[str]]:
    """Read every import of raygen's own modules under a directory, wherever in a file it stands."""
    paths = {}
    for path in sorted((root / "raygen").rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        paths[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return {name: set(_imported(path, paths)) - {name} for name, path in paths.items()}


def _imported(path: Path, modules: Mapping[str, Path]) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert not node.level, f"{path}:{node.lineno}: write the whole name of what is imported"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                if whole in modules or node.module in modules:
                    yield whole if whole in modules else node.module


def room_of(module: str, steps: Mapping[str, int]) -> str:
    """Return the room of a module; a folder that the table lacks is no room."""
    parts = module.split(".")
    if len(parts) == 1:
        return FACE
    if module == "raygen.__main__":
        return "cli"
    if parts[1] in steps:
        return parts[1]
    assert len(parts) == 2, f"raygen/{parts[1]}/ is not in the table of docs/stairs.md"
    return GROUND


def upward(imports: Imports, steps: Mapping[str, int]) -> list[str]:
    """Return the imports that do not go down, as sentences."""
    wrong = []
    for module, others in imports.items():
        room = room_of(module, steps)
        for other in sorted(others):
            below = room_of(other, steps)
            if room in (below, FACE):
                continue
            if below == FACE or steps[below] >= steps[room]:
                wrong.append(f"{module} imports {other}: {room} does not stand above {below}")
    return wrong


def circles(imports: Imports) -> list[list[str]]:
    """Return the sets of modules that import each other in a circle (Tarjan's strongly connected components)."""
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(module: str) -> None:
        number[module] = low[module] = len(number)
        stack.append(module)
        for other in sorted(imports[module]):
            if other not in number:
                visit(other)
                low[module] = min(low[module], low[other])
            elif other in stack:
                low[module] = min(low[module], number[other])
        if low[module] == number[module]:
            circle = stack[stack.index(module) :]
            del stack[stack.index(module) :]
            if len(circle) > 1:
                found.append(sorted(circle))

    for module in sorted(imports):
        if module not in number:
            visit(module)
    return found


def the_stairs() -> dict[str, int]:
    return stairs((ROOT / "docs" / "stairs.md").read_text())


def test_every_import_goes_down() -> None:
    assert upward(imports_of(ROOT), the_stairs()) == [], "see docs/stairs.md"


def test_there_is_no_circle() -> None:
    assert circles(imports_of(ROOT)) == [], "see docs/stairs.md"


def test_every_room_of_the_table_is_there_and_every_folder_is_a_room() -> None:
    folders = {path.parent.name for path in (ROOT / "raygen").glob("*/__init__.py")}
    assert folders == set(the_stairs()) - {GROUND}, "see docs/stairs.md"


@pytest.mark.parametrize(
    ("where", "line", "sentence"),
    [
        ("storage", "from raygen.runs.plan import Plan", "storage does not stand above runs"),
        ("runs", "def later():\n    from raygen.engines.base import Engine", "runs does not stand above engines"),
        ("data", "import raygen", "data does not stand above the face"),
        ("", "from raygen.config.base import Frozen", "the ground does not stand above config"),
    ],
)  # fmt: skip
def test_a_planted_import_is_found(where: str, line: str, sentence: str, tmp_path: Path) -> None:
    for name in ("", "storage", "runs", "engines", "data", "config"):
        (tmp_path / "raygen" / name).mkdir(exist_ok=True, parents=True)
        (tmp_path / "raygen" / name / "__init__.py").touch()
    for name in ("runs/plan", "engines/base", "config/base"):
        (tmp_path / "raygen" / f"{name}.py").touch()
    (tmp_path / "raygen" / where / "planted.py").write_text(line)
    found = upward(imports_of(tmp_path), the_stairs())
    assert len(found) == 1
    assert sentence in found[0]


def test_a_planted_circle_is_found() -> None:
    imports = {"raygen.a.x": {"raygen.a.y"}, "raygen.a.y": {"raygen.a.z"}, "raygen.a.z": {"raygen.a.x"}}
    assert circles({**imports, "raygen.b": {"raygen.a.x"}}) == [["raygen.a.x", "raygen.a.y", "raygen.a.z"]]


def test_no_folder_is_crowded() -> None:
    for folder in sorted({path.parent for path in (ROOT / "raygen").rglob("*.py")}):
        files = [path.name for path in folder.glob("*.py") if path.name != "__init__.py"]
        assert len(files) <= 20, (
            f"{folder.relative_to(ROOT)} holds {len(files)} files: which noun is a room of its own?"
        )
