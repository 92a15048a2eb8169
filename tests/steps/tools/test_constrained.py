"""Constraints in jobs: refused where no engine keeps to them, part of what a row is, inherited by refinement."""

from __future__ import annotations

import re
from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from raygen.config.constraint import Constraint
from raygen.engines.requests import GeneratedSample, GenerateRequest, GenerateResult
from raygen.errors import RowError
from raygen.program.job import Job
from raygen.steps.row.calls import Calls
from raygen.steps.tools.answers import Answer, answer_in
from raygen.steps.tools.constrained import KeepsTo
from raygen.steps.tools.schemas import Schema
from tests.steps.scripted import ECHO, NLI, Writer, job_of, run

TORCH = {"family": "causal_lm", "engine": "torch", "ref": "./model"}
ENDPOINT = {"family": "causal_lm", "engine": "openai", "ref": "m", "options": {"base_url": "http://x/v1"}}
VLLM_SERVER = {**ENDPOINT, "options": {"base_url": "http://x/v1", "structured_outputs": True}}
MODELS = {
    "writer": TORCH,
    "other": TORCH,
    "echo": ECHO,
    "endpoint": ENDPOINT,
    "server": VLLM_SERVER,
    "nli": NLI,
}
SCHEMA = {
    "type": "object",
    "properties": {"thought": {"type": "string"}, "answer": {"type": "integer"}},
    "required": ["thought", "answer"],
}


def generate(model: str = "writer", **more: Any) -> dict[str, Any]:
    return {"generate": {"model": model, "prompt": "About {{ text }}", **more}}


def job(*steps: dict[str, Any]) -> Job:
    return job_of(*steps, models=MODELS)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([generate("echo", constraint={"choice": ["a"]})],
         r"steps\.0\.generate\.constraint: model 'echo': engine 'echo' takes no constraints; .*: openai, torch, vllm"),
        ([generate("endpoint", constraint={"choice": ["a"]})],
         r"steps\.0\.generate\.constraint: model 'endpoint': .* takes no `choice`.*options\.structured_outputs: true"),
        ([generate("endpoint", constraint={"regex": "a"})], r"takes no `regex`"),
        ([generate(constraint={"regex": "a"}), {"verify": {"length": {}}}, {"refine": {"prompt": "x", "model": "echo"}}],
         r"steps\.2\.refine\.model: model 'echo': engine 'echo' takes no constraints"),
        ([generate(constraint={"regex": "("})], r"regex: .*unclosed group"),
        ([generate(constraint={"choice": []})], r"at least 1 item"),
        ([generate(constraint={})], r"exactly one of choice, regex, json_schema, grammar"),
    ],
)  # fmt: skip
def test_what_cannot_be_kept_is_refused_before_work(steps: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        job(*steps)


def test_an_error_names_the_step() -> None:
    with pytest.raises(ValidationError) as refused:
        job(generate(), generate(constraint={"json_schema": {"type": "nothing"}}))
    [error] = refused.value.errors()
    assert error["loc"] == ("steps", 1, "generate", "constraint")
    assert "json_schema: Invalid type: nothing" in error["msg"]


def test_engines_that_keep_to_it_are_taken() -> None:
    for model in ("writer", "server"):
        for constraint in (
            {"choice": ["a"]},
            {"regex": "a"},
            {"grammar": 'start: "a"'},
            {"json_schema": SCHEMA},
        ):
            job(generate(model, constraint=constraint))
    job(generate("endpoint", constraint={"json_schema": SCHEMA}))
    job(
        generate(constraint={"choice": ["a"]}),
        {"verify": {"length": {}}},
        {"refine": {"prompt": "x", "model": "other"}},
    )


def test_requests_carry_it_and_refinement_inherits_it() -> None:
    writer = Writer(lambda prompt, n: "bad" if prompt.startswith("About") else "good")
    steps = [
        generate(constraint={"choice": ["good", "bad"]}),
        {"verify": {"matches": {"pattern": "good"}}},
        {"refine": {"prompt": "again: {{ sample }}"}},
    ]
    found = run(job(*steps), writer, text="rain")
    assert (found.status, len(writer.asked)) == ("accepted", 2)
    for request in writer.asked:
        assert request.constraint is not None
        assert request.constraint.choice == ("good", "bad")
    run(job(generate()), writer, text="rain")
    assert writer.asked[-1].constraint is None


async def _key(**more: Any) -> str:
    calls = Calls({"writer": Writer(lambda prompt, n: "text")}, {"writer": "weights"})
    request = GenerateRequest(
        "r", [{"role": "user", "content": "x"}], job(generate()).steps[0].config.sampling, [1]
    )
    request.constraint = job(generate(**more)).steps[0].config.constraint
    return (await calls.generate("writer", request))[0]


def test_a_call_is_named_by_its_constraint_too() -> None:
    import asyncio

    turned = {**SCHEMA, "properties": dict(reversed(SCHEMA["properties"].items()))}  # type: ignore[attr-defined]
    given: list[dict[str, Any]] = [
        {},
        {"constraint": {"regex": "a"}},
        {"constraint": {"regex": "b"}},
        {"constraint": {"grammar": "start: /a/"}},
        {"constraint": {"json_schema": SCHEMA}},
        {"constraint": {"json_schema": turned}},  # its keys come in another order
    ]
    keys = [asyncio.run(_key(**each)) for each in given]
    assert len(set(keys)) == len(keys)
    assert keys == [asyncio.run(_key(**each)) for each in given]
    hashes = [job(generate(**each)).config_hash() for each in given]
    assert len(set(hashes)) == len(hashes)


def test_a_stored_job_is_the_same_job() -> None:
    made = job(generate(constraint={"json_schema": SCHEMA}))
    stored = orjson.dumps(made.model_dump(mode="json", exclude_none=True), option=orjson.OPT_SORT_KEYS)
    again = Job.model_validate(orjson.loads(stored))
    assert again.config_hash() == made.config_hash()
    constraint = again.steps[0].config.constraint
    assert list(constraint.json_schema["properties"]) == ["thought", "answer"]


@pytest.mark.parametrize(
    ("text", "field", "answer"),
    [
        ('{"answer": 5, "why": "x"}', "answer", "5"),
        ('{"a": {"b": {"c": "deep"}}}', "a.b.c", "deep"),
        ('{"a": {"b": {"c": [1, 2.5]}}}', "a.b", '{"c":[1,2.5]}'),
        ('{"answer": 12345678901234567890123}', "answer", "12345678901234567890123"),
        ('so: {"answer": [-9223372036854775809]}', "answer", "[-9223372036854775809]"),
        ('{"answer": true}', "answer", "true"),
        ('{"answer": null}', "answer", "null"),
        ('{"answer": [1, "two", {"x": null}]}', "answer", '[1,"two",{"x":null}]'),
        ('{"answer": [1, "two"]}', "answer.1", "two"),
        ('[{"v": 1}, {"v": 2}]', "1.v", "2"),
        ('{"answer": "a } in a text", "b": "{"}', "answer", "a } in a text"),
        ('Here it is: {"answer": {"n": -1}} as asked.', "answer.n", "-1"),
        ('{"answer": "é \\u0041"}', "answer", "é A"),
        ('{"other": 5}', "answer", None),
        ('{"answer": [1]}', "answer.1", None),
        ('{"answer": [1]}', "answer.x", None),
        ('{"answer": 5}', "answer.x", None),
        ('{"answer": 5', "answer", None),
        ("5", "answer", None),
        ("no JSON", "answer", None),
    ],
)
def test_an_answer_is_found_in_json(text: str, field: str, answer: str | None) -> None:
    assert answer_in(text, Answer(json_field=field)) == answer


def test_json_samples_vote_and_are_verified_by_their_answers() -> None:
    texts = [
        '{"thought":"a","answer":4}',
        '{"thought":"b","answer":5}',
        '{"thought":"c","answer":5}',
        '{"thou',
    ]
    step = generate(samples=4, constraint={"json_schema": SCHEMA}, answer={"json_field": "answer"})
    checks: list[dict[str, Any]] = [{"verify": {"json_schema": SCHEMA}}, {"select": {"majority": True}}]
    found = run(job(step, *checks), Writer(lambda prompt, n: texts[n]), text="rain")
    assert [(each["answer"], each["number"]) for each in found.samples] == [("5", 1)]
    reasons = {each["sample"]: each["decision"] for each in found.attempts if each["step"] == "generate"}
    assert reasons[3] == "constraint_not_met"


def fault(constraint: dict[str, Any], text: str, finish: str = "stop", tokens: int | None = 8) -> str | None:
    return KeepsTo(Constraint.model_validate(constraint)).fault_in(GeneratedSample(text, finish, tokens))


WHOLE = {
    "type": "object",
    "properties": {"a": {"type": "integer", "maximum": 9}},
    "required": ["a"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ('{"a": 6}', None),
        (' {\n "a": 6 }\n', None),
        ('```json\n{"a": 6}\n```', "it is not JSON"),
        ('Sure! {"a": 4}', "it is not JSON"),
        ('{"a": 4} as asked', "it is not JSON"),
        ('{"a": 4}{"a": 5}', "it is not JSON"),
        ('{"a":', "it is not JSON"),
        ('{"a": NaN}', "it is not JSON"),
        ("{'a': 6}", "it is not JSON"),
        ('{"a": "6"}', "a: '6' is not of type 'integer'"),
        ('{"a": 6.5}', "a: 6.5 is not of type 'integer'"),
        ('{"a": 60}', "a: 60 is greater than the maximum"),
        ('{"b": 1}', "the value: "),
        ('{"a": 6, "b": 1}', "the value: Additional properties"),
        ("[6]", "the value: [6] is not of type 'object'"),
        ("[" * 5000 + "]" * 5000, "it is not JSON"),
    ],
)
def test_json_that_does_not_fit_is_told(text: str, wrong: str | None) -> None:
    found = fault({"json_schema": WHOLE}, text)
    assert found is None if wrong is None else (found or "").startswith(wrong)


@pytest.mark.parametrize(
    ("schema", "right", "wrong"),
    [
        ({"type": "number", "multipleOf": 0.01}, "0.07", "0.075"),
        (
            {"type": "integer", "maximum": 12345678901234567890123},
            "12345678901234567890123",
            "12345678901234567890124",
        ),
        ({"type": "string", "pattern": "^[a-z]+$"}, '"abc"', '"a1"'),
        (
            {"patternProperties": {"^n": {"type": "integer"}}, "type": "object"},
            '{"n1": 1, "x": "a"}',
            '{"n1": "a"}',
        ),
        (
            {"type": "object", "patternProperties": {"^n": {}}, "additionalProperties": False},
            '{"n1": 1}',
            '{"x": 1}',
        ),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, '{"x": 1}', '{"x": "a"}'),
        ({"type": "array", "items": [{"type": "integer"}]}, "[1]", '["a"]'),  # as older drafts have it
        ({"type": "integer", "minimum": 3, "exclusiveMinimum": True}, "4", "3"),
        ({"$ref": "#/definitions/n", "definitions": {"n": {"type": "integer"}}}, "1", '"1"'),
        ({"type": "array", "items": {"$ref": "#"}}, "[" * 900 + "]" * 900, "[1]"),
    ],
)
def test_schemas_are_read_as_they_were_written(schema: dict[str, Any], right: str, wrong: str) -> None:
    assert fault({"json_schema": schema}, wrong) is not None
    deep = len(right) > 1000  # more than is compared: refused, with the reason
    assert (fault({"json_schema": schema}, right) is None) is not deep
    job(generate(constraint={"json_schema": schema}))


@pytest.mark.parametrize(
    ("constraint", "text", "wrong"),
    [
        ({"choice": ["yes", "no"]}, "yes", None),
        ({"choice": ["yes", "no"]}, "yes\n", r"'yes\\n' is none of the choices 'yes', 'no'"),
        ({"choice": ["yes", "no"]}, "Yes", "'Yes' is none of the choices"),
        ({"choice": ["a" * 500]}, "b" * 500, "' ... is none of the choices 'aaa"),
        ({"regex": r"\d{2}-[a-zé]+"}, "12-né", None),
        ({"regex": r"\d{2}-[a-zé]+"}, "12-", "the regular expression does not allow it to end there"),
        ({"regex": r"\d{2}-[a-zé]+"}, "12-né!", "does not allow '!' after 5 characters"),
        ({"regex": r"\d{2}-[a-zé]+"}, "x 12-n", "does not allow 'x 12-n' after 0 characters"),
        ({"regex": r"\d"}, "\u0663", "does not allow '\u0663' after 0 characters"),
        ({"grammar": 'start: "(" start ")" | "x"'}, "((x))", None),
        ({"grammar": 'start: "(" start ")" | "x"'}, "((x)", "the grammar does not allow it to end there"),
        (
            {"grammar": 'start: "(" start ")" | "x"'},
            "(y)",
            "the grammar does not allow 'y\\)' after 1 characters",
        ),
        (
            {"grammar": 'start: "(" start ")" | "x"'},
            "x ",
            "the grammar does not allow ' ' after 1 characters",
        ),
    ],
)
def test_a_text_that_does_not_keep_to_it_is_told_where(
    constraint: dict[str, Any], text: str, wrong: str | None
) -> None:
    found = fault(constraint, text)
    assert found is None if wrong is None else re.search(wrong, found or "")
    cut = fault(constraint, text, "length")
    assert cut == (None if found is None else f"it was cut off at max_tokens (8 tokens): {found}")


def test_of_a_grammar_with_special_tokens_a_whole_text_is_believed() -> None:
    grammar = {"grammar": 'start: "a" <|im_end|>'}
    assert fault(grammar, "a") is None
    assert fault(grammar, "", "length", None) == "it was cut off at max_tokens: it is not all of the grammar"


def test_many_texts_do_not_use_a_grammar_up() -> None:
    keeps = KeepsTo(Constraint(grammar='start: "(" start ")" | /[a-z]+/'))
    texts = ["(" * n + "abc" + ")" * n for n in range(200)]
    assert [keeps.fault_in(GeneratedSample(text, "stop", 1)) for text in texts] == [None] * 200
    assert keeps.fault_in(GeneratedSample("(a", "stop", 1)) is not None


class Cut(Writer):
    """Every text is cut off at a length limit."""

    async def generate(self, request: GenerateRequest) -> GenerateResult:
        result = await super().generate(request)
        for sample in result.samples:
            sample.finish_reason = "length"
        return result


def test_a_sample_that_does_not_keep_to_it_is_never_accepted() -> None:
    step = generate(samples=3, constraint={"json_schema": SCHEMA}, answer={"json_field": "answer"})
    texts = ['{"thought": "a", "answer": "6"}', 'Sure! {"thought": "a", "answer": 6}', '{"thought": "a"}']
    found = run(job(step), Writer(lambda prompt, n: texts[n]), text="rain")
    assert (found.status, found.reason) == ("rejected", "constraint_not_met")
    said = [each for each in found.attempts if each["decision"] == "constraint_not_met"]
    assert [each["sample"] for each in said] == [0, 1, 2]
    assert said[0]["detail"] == "answer: '6' is not of type 'integer'"
    assert [each["text"] for each in found.samples] == texts
    found = run(job(step), Cut(lambda prompt, n: '{"thought":'), text="rain")
    assert (found.status, found.reason) == ("rejected", "constraint_not_met")
    assert found.attempts[-1]["detail"].startswith("it was cut off at max_tokens (1 token")


def test_a_refined_sample_is_looked_at_alike_and_its_finding_is_told() -> None:
    texts = {"About rain": "Good", "again: Good": "good!", "again: good!": "good"}
    writer = Writer(lambda prompt, n: texts[prompt.partition(" |")[0]])
    steps = [
        generate(constraint={"choice": ["good", "bad"]}),
        {"refine": {"prompt": "again: {{ sample }} | {{ finding }}", "model": "other", "budget": 2}},
    ]
    found = run(job(*steps), writer, text="rain")
    assert [each["text"] for each in found.samples] == ["good"]
    assert writer.prompts[1] == "again: Good | 'Good' is none of the choices 'good', 'bad'"
    decisions = [each["decision"] for each in found.attempts]
    assert decisions == ["generated", "constraint_not_met", "refined", "constraint_not_met", "refined"]


def test_a_schema_that_is_none_is_refused_before_work() -> None:
    with pytest.raises(ValidationError, match=r"steps\.0\.generate\.constraint"):
        job(generate(constraint={"json_schema": {"type": "object", "required": "name"}}))


@pytest.mark.parametrize(
    "schema",
    [
        {"patternProperties": {"(.*?,){20}P": {}}},
        {"patternProperties": {"(.*?,){20}P": {}}, "additionalProperties": False},
        {"properties": {"x": {}}, "propertyNames": {"pattern": "(.*?,){20}P"}},
    ],
)
def test_a_pattern_that_never_ends_fails_its_row_alone(
    schema: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raygen.steps.tools.patterns.LIMIT_S", 0.05)
    with pytest.raises(RowError) as caught:
        Schema(schema).fault_in(orjson.dumps({"1," * 60: 1}).decode())
    assert caught.value.code == "pattern_timeout"
