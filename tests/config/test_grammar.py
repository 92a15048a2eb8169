"""Constraints that cannot be kept are refused before work, in one line that says why."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from llguidance import LLMatcher, LLTokenizer
from pydantic import ValidationError

from raygen.config.constraint import Constraint
from raygen.config.grammar import fault_in, grammar_of


def accepts(kind: str, value: Any, text: str) -> bool:
    matcher = LLMatcher(LLTokenizer("byte"), grammar_of(kind, value), log_level=0)
    return matcher.consume_tokens(list(text.encode())) and matcher.is_accepting()


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        ("choice", [], "at least 1 item"),
        ("choice", ["a", " "], "number 1 has no text"),
        ("choice", ["a", "b", "a"], "stands there twice"),
        ("regex", "(", "unclosed group"),
        ("regex", "a(?=b)", "look-around, including look-ahead and look-behind, is not supported"),
        ("regex", r"(a)\1", "backreferences are not supported"),
        ("regex", r"[^\s\S]", "no text fits it"),
        ("regex", "$", "only the empty text fits it"),
        ("json_schema", {"type": "nothing"}, "Invalid type: nothing"),
        ("json_schema", {"not": {"type": "string"}}, "Unimplemented keys"),
        ("json_schema", {"$ref": "http://example.com/schema"}, "does not fetch"),
        ("json_schema", {"type": "integer", "minimum": 5, "maximum": 3}, "Unsatisfiable"),
        ("json_schema", {"x-guidance": {"bogus": 1}}, "unknown field `bogus`"),
        ("json_schema", {"x-guidance": 3}, "invalid type: integer"),
        ("json_schema", {"const": float("nan")}, "cannot be written as JSON"),
        ("json_schema", '{"type"', "json_schema"),
        ("json_schema", "[]", "valid dictionary"),
        ("grammar", "start: missing", 'unknown name: "missing"'),
        ("grammar", "", "Empty grammar"),
        ("grammar", "start: a\na: a", "no text fits it"),
    ],
)
def test_what_no_text_can_keep_to_is_refused(kind: str, value: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message) as refused:
        Constraint.model_validate({kind: value})
    assert "\n   1 |" not in str(refused.value)


def test_exactly_one_kind_is_given() -> None:
    with pytest.raises(ValidationError, match="exactly one of choice, regex, json_schema, grammar; none"):
        Constraint()
    with pytest.raises(ValidationError, match="given: choice, regex"):
        Constraint(choice=("a",), regex="a")


def test_a_grammar_that_names_special_tokens_waits_for_a_models_tokenizer() -> None:
    assert fault_in("grammar", "start: <|im_start|> /[a-z]+/") is None


@pytest.mark.parametrize(
    "choice", ["yes", "a/b", 'say "x"\n', "c++ (x*y)?", "é\u2028😀", r"\d{3}", "#-&~ .|"]
)
def test_a_choice_is_taken_letter_by_letter(choice: str) -> None:
    choices = [choice, choice + "!", "other"]
    assert accepts("choice", choices, choice)
    assert accepts("choice", choices, choice + "!")
    assert not accepts("choice", choices, choice[:-1])
    assert not accepts("choice", choices, choice + "x")


def test_a_regex_matches_the_whole_text() -> None:
    assert accepts("regex", r"[a-c]+/\d", "ab/7")
    assert accepts("regex", r"^[a-c]+$", "ab")
    assert not accepts("regex", r"[a-c]+/\d", "ab/\u0663")
    assert not accepts("regex", r"[a-c]+", "abd")


def test_white_space_in_json_has_a_bound_and_the_schema_the_last_word() -> None:
    schema: dict[str, Any] = {"type": "array", "items": {"type": "integer"}}
    for text in ("[1,2]", "[1, 2]", "[1,2, 3]"):
        assert accepts("json_schema", schema, text), text
    for text in ("[1,  2]", "[\n1]", " [1]", "[1] ", "[1 ,2]"):
        assert not accepts("json_schema", schema, text), text
    assert accepts("json_schema", {"properties": {"a": {}}, "required": ["a"]}, '{"a": 1, "b":2}')
    loose = {**schema, "x-guidance": {"whitespace_flexible": True}}
    assert accepts("json_schema", loose, "[\n   1,  2\n]")


def test_a_schema_keeps_the_order_of_its_keys_however_it_is_stored() -> None:
    schema = {
        "type": "object",
        "properties": {"z": {"type": "null"}, "a": {"const": None}},
        "required": ["z", "a"],
    }
    given = Constraint(json_schema=schema)
    stored = json.loads(json.dumps(given.model_dump(mode="json", exclude_none=True), sort_keys=True))
    again = Constraint.model_validate(stored)
    assert list((again.json_schema or {})["properties"]) == ["z", "a"]
    assert again == given
    assert accepts("json_schema", again.json_schema, '{"z":null,"a":null}')
    assert not accepts("json_schema", again.json_schema, '{"a":null,"z":null}')


def test_a_job_without_constraints_does_not_load_llguidance_and_with_one_neither_torch_nor_ray() -> None:
    code = (
        "import sys; from raygen.config.constraint import Constraint; from raygen.steps.generate import Generate\n"
        "Generate(model='m', prompt='p'); print('llguidance' in sys.modules)\n"
        "Constraint(regex='a'); print({'torch', 'ray', 'transformers'} & set(sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.split("\n")[:2] == ["False", "set()"]


CHAIN = """
from raygen.config.grammar import fault_in, grammar_of, matcher_of
from llguidance import LLTokenizer
steps = {f"a{n}": {"properties": {"p": {"$ref": f"#/$defs/a{n + 1}"}}} for n in range(1100)}
schema = {"$ref": "#/$defs/a0", "$defs": {**steps, "a1100": {"type": "string"}}}
rules = "start: a0\\n" + "\\n".join(f'a{n}: "x" a{n + 1}' for n in range(4000)) + '\\na4000: "y"'
assert fault_in("json_schema", schema) is None
assert fault_in("grammar", rules) is None
matcher = matcher_of(LLTokenizer("byte"), grammar_of("grammar", rules))
assert not matcher.deep_copy().is_error()
"""


def test_a_chain_of_thousands_of_rules_ends_no_process() -> None:
    done = subprocess.run([sys.executable, "-c", CHAIN], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
