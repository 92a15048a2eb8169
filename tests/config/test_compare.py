"""Plain values are compared key by key, and each difference says what was and what is."""

from __future__ import annotations

import pytest

from raygen.config.compare import changed_keys, first_of


@pytest.mark.parametrize("value", [None, 1, "a", [1, {"a": 2}], {"a": {"b": [1]}}])
def test_equal_values_do_not_differ(value: object) -> None:
    assert changed_keys(value, value) == []


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        ({"seed": 1}, {"seed": 2}, ["seed was 1, now 2"]),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": "x"}}, ['a.c was 2, now "x"']),
        ({"a": 1}, {}, ["a was 1, now null"]),
        ({}, {"a": 1}, ["a was null, now 1"]),
        ([{"a": 1}, 2], [{"a": 3}, 2], [".0.a was 1, now 3"]),
        ({"a": [1]}, {"a": [1, 2]}, ["a was [1], now [1,2]"]),
        ({"b": 1, "a": 1}, {"b": 2, "a": 2}, ["a was 1, now 2", "b was 1, now 2"]),
        ({"a": 1}, {"a": {"b": 1}}, ['a was 1, now {"b":1}']),
    ],
)
def test_each_difference_is_named(before: object, now: object, told: list[str]) -> None:
    assert changed_keys(before, now) == told


def test_a_long_value_is_cut() -> None:
    (told,) = changed_keys({"a": "x" * 200}, {"a": 1})
    assert told == f'a was "{"x" * 56}..., now 1'


def test_a_few_are_shown_and_the_others_counted() -> None:
    assert first_of(["a", "b"]) == "a; b"
    assert first_of(list("abcdef")) == "a; b; c; d; and 2 more"
