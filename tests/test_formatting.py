from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raygen import formatting as display


def test_characters_that_show_nothing_are_escaped() -> None:
    assert display.visible("a\x00b\x1b[31m\x7f\x85\r\n\tc") == "a\\x00b\\x1b[31m\\x7f\\x85\\x0d\n\tc"
    assert (
        display.visible("\u202egnp.exe \ufeff\u200b\ud800\uffff")
        == "\\u202egnp.exe \\ufeff\\u200b\\ud800\\uffff"
    )


def test_writing_of_all_scripts_stays() -> None:
    text = "naïve 這是 مرحبا می\u200cخواهم 👩\u200d🔬 𝛼"
    assert display.visible(text) == text


@given(st.text(st.characters()))
def test_whatever_is_visible_can_be_encoded(text: str) -> None:
    assert "\x00" not in display.visible(text).encode().decode()


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (1204, "1,204"), (1204.4, "1,204"), (0.12345, "0.123"), (9.5, "9.5"), (1e9, "1,000,000,000")],
)
def test_number(value: float, text: str) -> None:
    assert display.number(value) == text


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (0, 10, "0%"),
        (10, 10, "100%"),
        (1, 8, "12.5%"),
        (1, 1_000_000, "<0.1%"),
        (999_999, 1_000_000, ">99.9%"),
        (0, 0, "–"),
    ],
)
def test_share_never_rounds_a_row_away(part: int, whole: int, text: str) -> None:
    assert display.share(part, whole) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (4.25, "4.2 s"),
        (59.97, "1 min"),
        (60, "1 min"),
        (185, "3 min 5 s"),
        (3599.7, "1 h"),
        (28980, "8 h 3 min"),
        (90000, "1 d 1 h"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert display.duration(seconds) == text


@pytest.mark.parametrize("seconds", [None, float("nan"), float("inf"), 1e9])
def test_a_time_that_nobody_knows_is_a_dash(seconds: float | None) -> None:
    assert display.duration(seconds) == "-"


def test_estimates_have_no_fractions() -> None:
    assert [display.duration(s, whole=True) for s in (4.25, 59.6, 185.2)] == ["4 s", "1 min", "3 min 5 s"]


def test_count_agrees_with_its_noun() -> None:
    assert [display.count(n, "row") for n in (0, 1, 2000)] == ["0 rows", "1 row", "2,000 rows"]
    assert display.count(2, "row has", "rows have") == "2 rows have"


def test_bounded_cuts_everything_long_and_never_shows_bytes() -> None:
    value = {"data": b"\x00secret", "list": list(range(100)), "text": "x" * 50, "deep": [[[["bottom"]]]]}
    short = display.bounded(value, items=4, chars=10, depth=3)
    assert short["data"] == "(7 bytes)"
    assert short["list"] == [0, 1, 2, 3, "… (96 more)"]
    assert short["text"] == "xxxxxxxxxx … (40 more characters)"
    assert short["deep"] == [["…"]]
    assert display.bounded(dict.fromkeys(range(30), 1), items=2) == {"0": 1, "1": 1, "…": "(28 more)"}
    json.dumps(short)


def test_as_text_leaves_strings_alone() -> None:
    assert display.as_text('say "hi"') == 'say "hi"'
    assert display.as_text({"é": None}) == '{\n  "é": null\n}'
