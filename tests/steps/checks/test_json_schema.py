"""JSON schema: the finding says where a value is wrong."""

from __future__ import annotations

from tests.steps.scripted import verdict


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
