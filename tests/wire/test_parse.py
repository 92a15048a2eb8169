"""Faults of bodies name the key; unknown keys are told, at any depth."""

from __future__ import annotations

import pytest

from raygen.wire.base import WireModel
from raygen.wire.errors import ApiError
from raygen.wire.parse import parse_as, parse_json, unknown_keys


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
