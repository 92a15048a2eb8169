"""Equals: the answer is compared, as text or as a number."""

from __future__ import annotations

from decimal import Decimal

import pytest

from raygen.steps.checks.equals import number_in
from tests.steps.scripted import verdict

GENERATE = {"generate": {"model": "writer", "prompt": "x"}}


def test_answers_are_compared_as_text_or_as_numbers() -> None:
    expected = {"equals": {"expected": "{{ right }}"}}
    assert verdict(expected, " The  Nile\n", right="the nile") is None
    assert verdict(expected, "Rhine", right="Nile") == "wrong_answer: the answer 'Rhine' is wrong"
    number = {"equals": {"expected": "{{ right }}", "compare": "number"}}
    assert verdict(number, "so 3 + 4 = 1,007.0", right="1007") is None
    assert verdict(number, "no number", right="7") == "wrong_answer: the answer 'no number' is wrong"
    assert verdict(number, "no number", right="none") is not None  # two texts without a number are not equal
    other = {"equals": {"expected": "{{ right }}", "wanted": False}}
    assert verdict(other, "Rhine", right="Nile") is None
    assert verdict(other, "nile", right="Nile") == "wrong_answer: the answer 'nile' is no other one"


def test_the_extracted_answer_is_what_counts() -> None:
    generate = {"generate": {**GENERATE["generate"], "answer": {"pattern": r"####\s*(\S+)"}}}
    check = {"equals": {"expected": "{{ right }}", "compare": "number"}}
    assert verdict(check, "1 + 1 = 2\n#### 2", generate, right="2") is None
    assert verdict(check, "2 is 1 + 1\n#### 3", generate, right="2") is not None
    assert verdict(check, "2", generate, right="2") == (
        "no_answer: there is no final answer in the form that was asked for"
    )


@pytest.mark.parametrize(
    ("text", "number"),
    [("1,234.5", "1234.5"), ("-3", "-3"), ("a 7 b 8", "8"), ("1e3", "1000"), (".5", "0.5"), ("none", None), ("3.", "3")],
)  # fmt: skip
def test_the_last_number_of_a_text(text: str, number: str | None) -> None:
    assert number_in(text) == (None if number is None else Decimal(number))
