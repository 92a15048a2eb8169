"""Faults of bodies name the key; unknown keys are told, at any depth."""

from __future__ import annotations

import pytest

from raygen.wire.base import WireModel
from raygen.wire.chat import ChatCompletions
from raygen.wire.errors import ApiError
from raygen.wire.parse import ignored_keys, parse_as, parse_body, parse_json, unknown_keys


class Inner(WireModel):
    role: str


class Outer(WireModel):
    model: str
    inner: Inner | None = None


def test_wrong_type_names_the_key():
    with pytest.raises(ApiError) as caught:
        parse_as(Outer, {"model": "m", "inner": {"role": 3}})
    assert caught.value.param == "inner.role"
    assert caught.value.status == 400
    assert "given: 3" in caught.value.message


def test_missing_key_is_named():
    with pytest.raises(ApiError) as caught:
        parse_as(Outer, {})
    assert (caught.value.code, caught.value.param) == ("missing_required_parameter", "model")


def test_unknown_keys_are_told_as_paths():
    body = parse_as(Outer, {"model": "m", "x": 1, "inner": {"role": "user", "y": 2}})
    assert list(unknown_keys(body)) == ["x", "inner.y"]


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b'"x"', b"\xff", b"[" * 10_000, b'{"a": NaN}'])
def test_what_is_no_object_is_refused(data):
    with pytest.raises(ApiError) as caught:
        parse_json(data)
    assert caught.value.code == "invalid_json"


class Part(WireModel):
    text: str


class Choosing(WireModel):
    content: str | list[Part]
    parts: list[Inner] = []


@pytest.mark.parametrize(
    ("body", "param", "said"),
    [
        ({"content": 3}, "content", "valid string; or: Input should be a valid list"),
        ({"content": [{"text": 3}]}, "content.0.text", "valid string; given: 3"),
        ({"content": [4]}, "content.0", "an object; given: 4"),
        ({"content": "x", "parts": [{"role": "a"}, {}]}, "parts.1.role", "required"),
        ({"content": "x" * 10**6, "parts": "y" * 10**6}, "parts", "..."),
    ],
)
def test_of_several_forms_the_one_that_was_meant_is_told(body, param, said):
    with pytest.raises(ApiError) as caught:
        parse_as(Choosing, body)
    assert caught.value.param == param
    assert said in caught.value.message
    assert len(caught.value.message) < 200


def test_unknown_keys_in_lists_are_told_without_numbers():
    body = parse_as(
        Choosing, {"content": [{"text": "a", "x": 1}, {"text": "b"}], "parts": [{"role": "r", "y": 2}]}
    )
    assert list(unknown_keys(body)) == ["content.x", "parts.y"]


def test_what_changes_nothing_is_told_once_and_fit_for_a_header():
    body = {
        "model": "m",
        "messages": [{"role": "user", "content": "a", "at": 1}, {"role": "user", "content": "b", "at": 2}],
        "user": "me",
        "store": None,
        "x\r\ny: 1": 1,
        "ключ": 1,
    }
    chat = ChatCompletions()
    assert (
        ignored_keys(chat, parse_body(chat, body))
        == r"user, x\r\ny: 1, \u043a\u043b\u044e\u0447, messages.at"
    )
    assert (
        ignored_keys(chat, parse_body(chat, {"model": "m", "messages": [{"role": "user", "content": "a"}]}))
        is None
    )


def test_a_body_that_is_nested_deeper_than_code_can_walk_is_refused():
    fits = b'{"input": ' + b"[" * 199 + b"]" * 199 + b"}"
    assert parse_json(fits)
    for levels in (200, 255, 960, 10_000):
        with pytest.raises(ApiError) as caught:
            parse_json(b'{"input": ' + b"[" * levels + b"]" * levels + b"}")
        assert (caught.value.status, caught.value.code) == (400, "invalid_json")
