"""The second try names the tests that needed it, and is none for many."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import second_try


@pytest.mark.parametrize(
    ("failed", "again", "code", "says"),
    [
        (
            ["t::a"],
            0,
            0,
            "these failed, and are tried once more:\n  t::a\npassed on the second try only:\n  t::a\n",
        ),
        (["t::b", "t::a"], 1, 1, "failed again:\n  t::a\n  t::b\n"),
        (
            ["t::a", "t::b", "t::c", "t::d"],
            0,
            1,
            "4 tests failed; a second try is for 1 to 3 of them:\n  t::a\n  t::b",
        ),
        (None, 0, 1, "0 tests failed"),  # pytest itself broke
    ],
)
def test_a_second_try(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    failed: list[str] | None,
    again: int,
    code: int,
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    if failed is not None:
        second_try.FAILED.parent.mkdir(parents=True)
        second_try.FAILED.write_text(json.dumps(dict.fromkeys(failed, True)))
    monkeypatch.setattr(second_try.subprocess, "call", lambda command: again)
    assert second_try.main() == code
    assert says in capsys.readouterr().out
