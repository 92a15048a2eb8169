"""Answers: found by a pattern or in JSON, or there is none."""

from __future__ import annotations

from tests.steps.scripted import verdict


def test_json_answers_are_found_in_objects() -> None:
    generate = {"generate": {"model": "writer", "prompt": "x", "answer": {"json_field": "result.value"}}}
    check = {"equals": {"expected": "7", "compare": "number"}}
    assert verdict(check, 'Here: {"result": {"value": 7}}', generate) is None
    assert verdict(check, '{"result": 7}', generate).startswith("no_answer")
    assert verdict(check, '{"result": {"value": 7}', generate).startswith("no_answer")


def test_a_group_that_takes_no_part_is_no_answer() -> None:
    generate = {
        "generate": {"model": "writer", "prompt": "x", "answer": {"pattern": r"answer(?: is (\d+))?"}}
    }
    assert verdict({"length": {}}, "no answer", generate) == (
        "no_answer: there is no final answer in the form that was asked for"
    )
