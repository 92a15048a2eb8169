"""Checks: what passes, what does not, and what is said about it."""

from __future__ import annotations

import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from raygen.errors import ConfigError
from raygen.program.program import Program
from raygen.steps.checks.equals import number_in
from raygen.steps.tools import patterns
from tests.steps.scripted import Writer, job_of, run

GENERATE = {"generate": {"model": "writer", "prompt": "x"}}


def verdict(check: dict[str, Any], text: str, generate: dict[str, Any] = GENERATE, **row: Any) -> str | None:
    """Return what a check finds about a text; None: it passes."""
    found = run(job_of(generate, {"verify": check}), Writer(lambda prompt, n: text), **row)
    return None if found.status == "accepted" else f"{found.reason}: {found.attempts[-1]['detail']}"


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


def test_json_answers_are_found_in_objects() -> None:
    generate = {"generate": {**GENERATE["generate"], "answer": {"json_field": "result.value"}}}
    check = {"equals": {"expected": "7", "compare": "number"}}
    assert verdict(check, 'Here: {"result": {"value": 7}}', generate) is None
    assert verdict(check, '{"result": 7}', generate).startswith("no_answer")
    assert verdict(check, '{"result": {"value": 7}', generate).startswith("no_answer")


def test_a_schema_says_where_a_value_is_wrong() -> None:
    schema = {
        "type": "object", "required": ["age"],
        "properties": {"age": {"type": "integer"}, "tags": {"type": "array", "items": {"type": "string"}}},
    }  # fmt: skip
    check = {"json_schema": schema}
    assert verdict(check, '{"age": 3, "tags": ["a"]}') is None
    assert verdict(check, '{"age": "3"}') == "not_the_schema: age: '3' is not of type 'integer'"
    assert verdict(check, '{"age": 3, "tags": [1]}') == "not_the_schema: tags/0: 1 is not of type 'string'"
    assert verdict(check, "{}") == "not_the_schema: the value: 'age' is a required property"
    assert verdict(check, "no JSON").startswith("not_the_schema: it is not JSON")


@pytest.mark.parametrize(
    ("check", "good", "bad", "finding"),
    [
        ({"at_least": 2}, "a b", "a", "it has 1 words; at least 2 are wanted"),
        ({"at_most": 2}, "a b", "a b c", "it has 3 words; at most 2 are wanted"),
        ({"unit": "characters", "at_most": 3}, "abc", "abcd", "it has 4 characters; at most 3 are wanted"),
        (
            {"unit": "sentences", "at_least": 2},
            "It is. It was.",
            "It is",
            "it has 1 sentences; at least 2 are wanted",
        ),
    ],
)
def test_lengths_have_bounds(check: dict[str, Any], good: str, bad: str, finding: str) -> None:
    assert verdict({"length": check}, good) is None
    assert verdict({"length": check}, bad) == f"length: {finding}"


def test_patterns_are_wanted_or_not() -> None:
    assert verdict({"matches": {"pattern": r"\?$"}}, "why?") is None
    assert verdict({"matches": {"pattern": r"\?$"}}, "so") == (
        r"pattern: what matches the pattern \?$ is missing"
    )
    assert verdict({"matches": {"pattern": "as an AI", "wanted": False}}, "as an AI, I").endswith(
        "must not be there"
    )


@pytest.mark.parametrize(
    ("generate", "check", "step"),
    [
        (GENERATE, {"matches": {"pattern": "(.*?,){20}P"}}, "verify"),
        (GENERATE, {"json_schema": {"pattern": "(.*?,){20}P"}}, "verify"),
        (
            {"generate": {**GENERATE["generate"], "answer": {"pattern": "(.*?,){20}P"}}},
            {"length": {}},
            "generate",
        ),
    ],
)
def test_a_pattern_that_never_ends_fails_its_row(
    generate: dict[str, Any], check: dict[str, Any], step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patterns, "LIMIT_S", 0.1)
    text = f'"{"1," * 40}"'
    found = run(job_of(generate, {"verify": check}), Writer(lambda prompt, n: text))
    assert (found.status, found.reason, found.error["step"]) == ("failed", "pattern_timeout", step)


def test_a_group_that_takes_no_part_is_no_answer() -> None:
    generate = {"generate": {**GENERATE["generate"], "answer": {"pattern": r"answer(?: is (\d+))?"}}}
    assert verdict({"length": {}}, "no answer", generate) == (
        "no_answer: there is no final answer in the form that was asked for"
    )


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
