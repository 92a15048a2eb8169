"""A registry finds raygen's own classes, those of other packages, and says what there is."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from raygen import registry as module
from raygen.registry import Registry

GROUP = "raygen.test_colours"


def offered(monkeypatch: pytest.MonkeyPatch, *entries: tuple[str, str]) -> None:
    points = [EntryPoint(name, value, GROUP) for name, value in entries]
    monkeypatch.setattr(module, "entry_points", lambda group: points if group == GROUP else [])


def colours(kind: str | None = None) -> Registry:
    return Registry("colour", GROUP, {"own": "collections:OrderedDict"}, kind)


def test_its_own_are_found_without_a_look_at_other_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "entry_points", lambda group: pytest.fail("looked"))
    assert colours().load("own").__name__ == "OrderedDict"


def test_another_package_offers_one(monkeypatch: pytest.MonkeyPatch) -> None:
    offered(monkeypatch, ("red", "collections:Counter"), ("own", "collections:deque"))
    assert colours().load("red").__name__ == "Counter"
    assert colours().load("own").__name__ == "OrderedDict"  # a name of raygen's own stays raygen's
    assert colours().names() == ["own", "red"]
    assert "red" in colours()


def test_what_is_not_there_is_said_with_what_is(monkeypatch: pytest.MonkeyPatch) -> None:
    offered(monkeypatch, ("red", "collections:Counter"))
    with pytest.raises(ValueError, match="no colour 'blue'; colours: own, red"):
        colours().load("blue")


def test_two_packages_with_one_name_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    offered(monkeypatch, ("red", "collections:Counter"), ("red", "collections:deque"))
    with pytest.raises(ValueError, match=r"several packages \(collections:Counter, collections:deque\)"):
        colours().load("red")
    assert colours().load("collections:deque").__name__ == "deque"


def test_a_place_is_imported_from_the_current_directory_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "their_colours.py").write_text("class Green: ...\nraise_ = 1\n")
    (tmp_path / "broken_colours.py").write_text("raise RuntimeError('out of paint')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert colours().load("their_colours:Green").__name__ == "Green"
    with pytest.raises(ValueError, match=r"their_colours:Blue.*cannot be imported: AttributeError"):
        colours().load("their_colours:Blue")
    with pytest.raises(ValueError, match="RuntimeError: out of paint"):
        colours().load("broken_colours:Grey")


def test_a_class_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'collections:deque': not a subclass of builtins.dict"):
        colours("builtins:dict").load("collections:deque")
    assert colours("builtins:dict").load("collections:Counter").__name__ == "Counter"
