"""The public names: all of them, nothing else, and as tests/api.txt says: a change of what others build on is seen in review.

RAYGEN_WRITE_API=1 writes tests/api.txt anew.
"""

from __future__ import annotations

import ast
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import raygen

SNAPSHOT = Path(__file__).with_name("api.txt")


def test_all_says_what_is_public() -> None:
    assert raygen.__all__ == sorted({*raygen._PUBLIC, "__version__"})
    assert dir(raygen) == raygen.__all__
    for name in raygen.__all__:
        assert getattr(raygen, name) is not None


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(Path(raygen.__file__).read_text())
    seen = {
        alias.asname or alias.name: f"{node.module}:{alias.name}"
        for branch in tree.body
        if isinstance(branch, ast.If)
        for node in branch.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    given = {name: place if ":" in place else f"{place}:{name}" for name, place in raygen._PUBLIC.items()}
    assert seen == given


def test_a_name_is_found_whatever_was_imported_before() -> None:
    """A room of the same name would hide it, once it is imported."""
    code = """
import raygen, raygen.cli, raygen.improve.rounds, raygen.train.run
print(*(callable(getattr(raygen, name)) for name in raygen._PUBLIC))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == {"True"}


def test_signatures_are_those_that_were_agreed_on() -> None:
    found = "\n".join(line for name in raygen.__all__ for line in described(name)) + "\n"
    if os.environ.get("RAYGEN_WRITE_API"):
        SNAPSHOT.write_text(found)
    assert found == SNAPSHOT.read_text(), (
        "the public interface changed; if it was meant to: RAYGEN_WRITE_API=1"
    )


def described(name: str) -> Iterator[str]:
    thing = getattr(raygen, name)
    if not isinstance(thing, type):
        yield f"{name}{signature(thing)}" if callable(thing) else name
        return
    bases = ", ".join(base.__name__ for base in thing.__bases__ if base is not object)
    yield f"class {name}({bases})" if bases else f"class {name}"
    ours = [kind for kind in reversed(thing.__mro__) if kind.__module__.partition(".")[0] == "raygen"]
    members: dict[str, str] = {}
    for kind in ours:
        members |= {key: f"{key}: {value}" for key, value in vars(kind).get("__annotations__", {}).items()}
        for key, value in vars(kind).items():
            if isinstance(value, classmethod | staticmethod):
                members[key] = f"{key}{signature(value.__func__)}"
            elif isinstance(value, property):
                members[key] = f"{key}: property{signature(value.fget)[6:]}"
            elif inspect.isfunction(value):
                members[key] = f"{key}{signature(value)}"
    if "__init__" in vars(thing) and issubclass(thing, Exception):
        yield f"    {members['__init__']}"
    yield from (f"    {line}" for key, line in sorted(members.items()) if not key.startswith("_"))


def signature(function: Any) -> str:
    return re.sub(r" at 0x[0-9a-f]+", "", str(inspect.signature(function)))
