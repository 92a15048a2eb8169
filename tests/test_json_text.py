"""JSON text: what comes in is what is meant, to the last digit, or it is refused."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raygen.json_text import MAX_DIGITS, read_json, write_json
from tests.data.reading import PROPERTY

INTEGERS = st.integers() | st.integers(-(2**70), 2**70) | st.integers(2**63 - 2, 2**64 + 2)
TEXTS = st.text(st.characters(exclude_categories=["Cs"])) | st.integers(0, 10**40).map(str)
PLAIN = st.none() | st.booleans() | INTEGERS | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
JSON_VALUES = st.recursive(
    PLAIN, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner), max_leaves=10
)


@PROPERTY
@given(JSON_VALUES)
def test_every_value_comes_back_as_it_was(value: Any) -> None:
    data = write_json(value)
    for text in (data, data.decode(), json.dumps(value), json.dumps(value, indent=1, ensure_ascii=False)):
        again = read_json(text)
        assert repr(again) == repr(value)  # tells 1 from 1.0 and from True, and 0.0 from -0.0


@pytest.mark.parametrize("digits", [18, 19, 20, 23, 100, 400, MAX_DIGITS])
@pytest.mark.parametrize("sign", [1, -1])
def test_integers_of_any_size_stay_whole(digits: int, sign: int) -> None:
    number = sign * (10**digits - 1)
    for place in range(12):  # wherever the digits stand among the bytes that are looked at first
        assert read_json(b" " * place + b'{"q": [%d, 1.5]}' % number) == {"q": [number, 1.5]}
    assert write_json({"q": number}) == b'{"q":%d}' % number


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("1" * (MAX_DIGITS + 1), "an integer of 4,301 digits; at most 4,300 are read"),
        ("1e400", "infinity"),
        (f"[{'1' * 20}, 1e400]", "infinity"),
        ("1" * 400 + ".5", "infinity"),
        (f'{{"a": {"1" * 30}, "b": NaN}}', "unexpected character"),
        ("0" * 30, "leading zero"),
        (f'["{"1" * 30}", "\\ud800"]', "surrogate"),
        (f"[{'1' * 30},", "unexpected end"),
        (b'["' + b"1" * 30 + b'\xff"]', "UTF-8"),
        ("[" * 1010 + "1" * 20 + "]" * 1010, "deep"),
    ],
)
def test_what_is_no_json_is_refused_whether_or_not_it_holds_long_integers(text: Any, why: str) -> None:
    with pytest.raises(json.JSONDecodeError, match=why):
        read_json(text)


def test_writing_keeps_options_and_refuses_what_json_has_not() -> None:
    value = {"b": (2**70, {1: 2**70}), "a": b"x"}
    options = orjson.OPT_NON_STR_KEYS | orjson.OPT_SORT_KEYS
    assert write_json(value, lambda each: each.decode(), options) == b'{"a":"x","b":[%d,{"1":%d}]}' % (
        2**70,
        2**70,
    )
    with pytest.raises(TypeError, match="bytes"):
        write_json({"a": b"x", "b": 2**70})
