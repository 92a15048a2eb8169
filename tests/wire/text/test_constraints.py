"""What a body says of an answer's form becomes one constraint, however it is called."""

from __future__ import annotations

import pytest

from raygen.wire.chat import ChatCompletions
from raygen.wire.completions import Completions
from raygen.wire.errors import ApiError
from tests.fakes.text_models import saying
from tests.wire.asking import answered

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
HI = [{"role": "user", "content": "hi"}]


def constraint(**body):
    served = saying("x")
    answered(ChatCompletions(), served, messages=HI, **body)
    return served.engine.asked[0].constraint


@pytest.mark.parametrize(
    ("body", "kind", "value"),
    [
        ({"response_format": {"type": "json_object"}}, "json_schema", {"type": "object"}),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "a", "schema": SCHEMA, "strict": True},
                }
            },
            "json_schema",
            SCHEMA,
        ),
        ({"structured_outputs": {"json": SCHEMA}}, "json_schema", SCHEMA),
        ({"structured_outputs": {"regex": "[0-9]+"}}, "regex", "[0-9]+"),
        ({"structured_outputs": {"choice": ["yes", "no"]}}, "choice", ("yes", "no")),
        ({"structured_outputs": {"grammar": 'start: "a"'}}, "grammar", 'start: "a"'),
        ({"guided_regex": "[0-9]+"}, "regex", "[0-9]+"),
        ({"guided_json": '{"type": "object"}'}, "json_schema", {"type": "object"}),
    ],
)
def test_each_form_is_a_constraint(body, kind, value):
    found = constraint(**body)
    assert (found.kind, found.value) == (kind, value)


def test_text_and_null_are_none():
    assert constraint(response_format={"type": "text"}) is None
    assert constraint(response_format=None, structured_outputs=None) is None


def test_completions_take_them_too():
    served = saying("x")
    answered(Completions(), served, prompt="a", structured_outputs={"regex": "a"})
    assert served.engine.asked[0].constraint.regex == "a"


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({"response_format": {"type": "xml"}}, "invalid_value", "response_format.type"),
        (
            {"response_format": {"type": "json_schema"}},
            "missing_required_parameter",
            "response_format.json_schema.schema",
        ),
        ({"structured_outputs": {}}, "invalid_value", "structured_outputs"),
        ({"structured_outputs": {"regex": "a", "choice": ["b"]}}, "invalid_value", "structured_outputs"),
        ({"structured_outputs": {"regex": "("}}, "invalid_value", "structured_outputs"),
        ({"guided_json": "no JSON"}, "invalid_value", "guided_json"),
        ({"guided_regex": "a" * 70_000}, "invalid_value", "guided_regex"),
        ({"guided_regex": "a", "response_format": {"type": "json_object"}}, "invalid_value", "guided_regex"),
    ],
)
def test_what_no_answer_could_keep_to_is_refused(body, code, param):
    with pytest.raises(ApiError) as caught:
        constraint(**body)
    assert (caught.value.code, caught.value.param) == (code, param)


def test_a_model_that_keeps_to_none_says_so():
    served = saying("x")
    type(served.engine).takes_constraints = False
    try:
        with pytest.raises(ApiError) as caught:
            answered(ChatCompletions(), served, messages=HI, response_format={"type": "json_object"})
    finally:
        type(served.engine).takes_constraints = True
    assert (caught.value.code, caught.value.param) == ("unsupported_parameter", "response_format")


def test_a_form_that_was_read_before_is_not_read_again():
    assert constraint(guided_regex="abc") is constraint(guided_regex="abc")
    assert constraint(guided_regex="abd") != constraint(guided_regex="abc")
