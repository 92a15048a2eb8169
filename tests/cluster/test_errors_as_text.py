"""Errors as text: an error keeps its class where that is known, and a base of it where it is not."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from raygen.cluster.errors_as_text import Failure, pack_error, unpack_error
from raygen.errors import BusyError, ConfigError, EngineConfigError, EngineError, RaygenError, RowError

THEIRS = """
from pathlib import Path

from raygen.errors import EngineError, RowError


class QuotaError(EngineError):
    exit_code = 7

    def __init__(self, used: int) -> None:
        super().__init__(f"quota used up: {used}")
        Path("constructed").touch()


class TooDarkError(RowError):
    def __init__(self) -> None:
        super().__init__("too_dark", "nothing is to be seen", "look")


class WordyError(EngineError):
    def __init__(self, words: list[str]) -> None:
        super().__init__("words")
        self.words = words

    def __str__(self) -> str:
        return " ".join(self.words)


class Outer:
    class InnerError(EngineError):
        pass


def local_error() -> Exception:
    class LocalError(QuotaError):
        pass

    return LocalError(3)


not_a_class = print
"""


@pytest.fixture
def theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Another package's module, which can be imported until `absent` says that it cannot."""
    (tmp_path / "their_engine.py").write_text(THEIRS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    import their_engine  # type: ignore[import-not-found]

    yield their_engine
    sys.modules.pop("their_engine", None)


def absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "their_engine", None)


def test_our_own_errors_keep_class_and_message() -> None:
    for kind in (ConfigError, EngineConfigError, RaygenError):
        back = unpack_error(pack_error(kind("no such key: a\nb")))
        assert (type(back), str(back)) == (kind, "no such key: a\nb")


def test_a_rows_error_keeps_code_and_step() -> None:
    back = unpack_error(pack_error(RowError("too_long", "of 9 tokens", "write")))
    assert isinstance(back, RowError)
    assert (back.code, back.message, back.step, str(back)) == (
        "too_long",
        "of 9 tokens",
        "write",
        "of 9 tokens",
    )


def test_another_packages_error_keeps_its_class_and_its_constructor_is_not_called(theirs: Any) -> None:
    packed = pack_error(theirs.QuotaError(5))
    Path("constructed").unlink()
    back = unpack_error(packed)
    assert (type(back), str(back), back.exit_code) == (theirs.QuotaError, "quota used up: 5", 7)  # type: ignore[attr-defined]
    assert not Path("constructed").exists()


def test_its_module_is_imported_when_it_is_not_yet(theirs: Any) -> None:
    packed = pack_error(theirs.QuotaError(5))
    del sys.modules["their_engine"]
    assert type(unpack_error(packed)).__name__ == "QuotaError"


def test_where_it_is_absent_the_nearest_known_base_stands_for_it(
    theirs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    quota, dark = pack_error(theirs.QuotaError(5)), pack_error(theirs.TooDarkError())
    absent(monkeypatch)
    back = unpack_error(quota)
    assert (type(back), str(back)) == (EngineError, "quota used up: 5")
    row = unpack_error(dark)
    assert isinstance(row, RowError)
    assert (row.code, row.message, row.step) == ("too_dark", "nothing is to be seen", "look")


def test_a_class_inside_a_class_is_found_and_one_inside_a_function_is_not(theirs: Any) -> None:
    assert type(unpack_error(pack_error(theirs.Outer.InnerError("x")))) is theirs.Outer.InnerError
    assert type(unpack_error(pack_error(theirs.local_error()))) is theirs.QuotaError


def test_a_class_that_cannot_say_the_message_gives_way_to_its_base(theirs: Any) -> None:
    back = unpack_error(pack_error(theirs.WordyError(["so", "many"])))
    assert (type(back), str(back)) == (EngineError, "so many")


def test_pythons_own_exceptions_keep_their_class() -> None:
    for error in (ValueError("x"), KeyError("x"), KeyError(("a", 1)), TimeoutError("late"), AssertionError()):
        back = unpack_error(pack_error(error))
        assert type(back) is type(error)
    assert str(unpack_error(pack_error(KeyError("x")))) == "'x'"


def test_other_exceptions_are_told_by_name() -> None:
    try:
        json.loads("{")
    except json.JSONDecodeError as error:
        back = unpack_error(pack_error(error))
    assert type(back) is RuntimeError
    assert str(back).startswith("JSONDecodeError: Expecting property name")
    assert type(unpack_error(pack_error(UnicodeDecodeError("utf-8", b"", 0, 1, "x")))) is RuntimeError


def test_an_error_that_cannot_say_what_is_wrong_is_packed_too() -> None:
    class SilentError(EngineError):
        def __str__(self) -> str:
            raise ValueError

    assert type(unpack_error(pack_error(SilentError()))) is EngineError


@pytest.mark.parametrize(
    "place",
    ["os:system", "their_engine:not_a_class", "builtins:eval", "builtins:SystemExit", "builtins:int", "no:where", "", ":"],
)  # fmt: skip
def test_nothing_but_an_exception_is_ever_made(theirs: Any, place: str) -> None:
    back = unpack_error(json.dumps({"kinds": [place], "message": "1+1", "told": "X: 1+1"}))
    assert (type(back), str(back)) == (RuntimeError, "X: 1+1")


def test_when_to_ask_again_travels_along() -> None:
    back = Failure.of(BusyError("full", 7.5)).unpacked()
    assert isinstance(back, BusyError)
    assert (str(back), back.message, back.retry_after_s) == ("full", "full", 7.5)
