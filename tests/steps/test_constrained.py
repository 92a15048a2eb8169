"""Constraints in jobs: refused where no engine keeps to them, part of what a row is, inherited by refinement."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from raygen.config import Job
from raygen.engines.base import GenerateRequest
from raygen.step_config import Answer
from raygen.steps.calls import Calls
from raygen.steps.generate import answer_in
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
    assert reasons[3] == "no_answer"  # cut by max_tokens: it is no JSON
