"""A check of the user's own: what it says decides, what it breaks fails its row."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from raygen.errors import ConfigError
from raygen.program.program import Program
from tests.steps.scripted import Writer, job_of, run, verdict

GENERATE = {"generate": {"model": "writer", "prompt": "x"}}


class Mute:
    def __repr__(self) -> str:
        raise RuntimeError


def good_length(sample: str, row: dict[str, Any]) -> bool | str:
    if sample == "bug":
        raise ZeroDivisionError("oh")
    if sample == "odd":
        return 3  # type: ignore[return-value]
    if sample == "exit":
        sys.exit()
    if sample == "mute":
        return Mute()  # type: ignore[return-value]
    if sample == "half":
        return "\ud800"
    return len(sample) <= row["most"] or f"{len(sample)} is too long"


def spoil(sample: str, row: dict[str, Any]) -> bool:
    row["parts"].append("spoilt")
    return True


def test_what_a_function_changes_in_its_row_changes_nothing() -> None:
    row = {"parts": ["whole"]}
    assert verdict({"python": {"function": f"{__name__}:spoil"}}, "abc", **row) is None
    assert row == {"parts": ["whole"]}


def test_a_function_is_found_in_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_checks_1.py").write_text("def short(sample, row):\n    return len(sample) < 4\n")
    (tmp_path / "json.py").write_text("raise RuntimeError('not the one')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "json")
    check = {"python": {"function": "my_checks_1:short"}}
    assert verdict(check, "abc") is None
    assert verdict(check, "abcd") == "check_failed: my_checks_1:short says no"
    assert __import__("json").dumps([1]) == "[1]"


def test_a_function_of_ones_own_decides() -> None:
    check = {"python": {"function": f"{__name__}:good_length"}}
    assert verdict(check, "abc", most=3) is None
    assert verdict(check, "abcd", most=3) == "check_failed: 4 is too long"
    assert verdict(check, "half", most=3) == r"check_failed: \ud800"
    for text in ("bug", "odd", "exit", "mute"):
        found = run(job_of(GENERATE, {"verify": check}), Writer(lambda prompt, n, text=text: text), most=3)
        assert (found.status, found.reason, found.error["step"]) == ("failed", "check_error", "verify")
    for place, said in (
        ("no.such:thing", "No module named 'no'"),
        (f"{__name__}:nothing", "has no attribute"),
    ):
        with pytest.raises(ConfigError, match=said):
            Program(job_of(GENERATE, {"verify": {"python": {"function": place}}}))
