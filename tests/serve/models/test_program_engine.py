"""A job's program as a model: it answers one chat, tells how it came to it, and refuses what a chat cannot give."""

from __future__ import annotations

import asyncio

import pytest

from raygen.errors import ConfigError
from raygen.serve.config import ServiceConfig
from raygen.serve.models.catalog import Catalog
from raygen.serve.tenants.tenant import Tenant
from raygen.wire import endpoint_at
from raygen.wire.base import Asked
from raygen.wire.errors import ApiError, api_error
from raygen.wire.parse import parse_body

JOB = """
name: math
source: {{format: jsonl, uri: none.jsonl}}
models: {{writer: {{family: causal_lm, engine: echo}}}}
steps:
  - generate: {{model: writer, prompt: "Solve: {prompt}"}}
  - verify: {{length: {{at_least: {least}}}}}
"""


def catalog(tmp_path, least=1, column="question", models=("writer",), prompt="{{ question }}"):
    (tmp_path / "math.yaml").write_text(JOB.format(least=least, prompt=prompt))
    echo = {"family": "causal_lm", "engine": "echo"}
    config = {
        "models": dict.fromkeys(models, echo),
        "programs": {"math": {"job": str(tmp_path / "math.yaml"), "column": column}},
    }
    return Catalog.of(ServiceConfig.model_validate(config))


def asked(made, **more):
    async def ask():
        await made.start()
        served = made.find("program:math", Tenant("t"))
        endpoint = endpoint_at("/v1/chat/completions")
        messages = [{"role": "system", "content": "s"}, {"role": "user", "content": "2 + 2"}]
        body = parse_body(endpoint, {"model": "program:math", "messages": messages, **more})
        endpoint.check(body, served)
        return (await endpoint.answer(body, served, Asked("r", 7, 0))).body

    return asyncio.run(ask())


def test_a_chat_is_answered_by_the_steps_and_the_same_seed_gives_the_same(tmp_path):
    first, again = asked(catalog(tmp_path), n=2, seed=3), asked(catalog(tmp_path), n=2, seed=3)
    texts = [choice["message"]["content"] for choice in first["choices"]]
    assert len(set(texts)) == 2
    assert first["choices"] == again["choices"]
    assert first["usage"]["completion_tokens"] == 2


def test_the_way_to_an_answer_is_told_on_demand(tmp_path):
    found = asked(catalog(tmp_path), raygen={"trace": True})
    steps = [each["step"] for each in found["choices"][0]["raygen"]["trace"]]
    assert steps == ["generate", "verify"]
    assert "raygen" not in asked(catalog(tmp_path))["choices"][0]


def test_what_no_check_lets_pass_is_said_with_its_reason(tmp_path):
    with pytest.raises(Exception) as caught:
        asked(catalog(tmp_path, least=50))
    error = api_error(caught.value)
    assert (error.status, error.code) == (422, "program_rejected")
    assert "at least 50" in error.message


def test_settings_that_are_the_programs_own_are_refused(tmp_path):
    with pytest.raises(ApiError) as caught:
        asked(catalog(tmp_path), temperature=0.5)
    assert (caught.value.code, caught.value.param) == ("unsupported_parameter", "temperature")


@pytest.mark.parametrize(
    ("given", "said"),
    [({"column": "wish"}, "no column 'wish'"), ({"models": ("other",)}, "asks the model 'writer'")],
)
def test_a_program_that_cannot_answer_is_refused_before_start(tmp_path, given, said):
    with pytest.raises(ConfigError, match=said):
        catalog(tmp_path, **given)


def test_the_only_column_needs_no_name(tmp_path):
    assert asked(catalog(tmp_path, column=None))["choices"]


def test_a_stream_tells_the_same_answer_whole_at_its_end(tmp_path):
    made = catalog(tmp_path)

    async def pieces():
        await made.start()
        served = made.find("program:math", Tenant("t"))
        endpoint = endpoint_at("/v1/chat/completions")
        messages = [{"role": "user", "content": "2 + 2"}]
        body = parse_body(
            endpoint, {"model": "program:math", "messages": messages, "stream": True, "seed": 3}
        )
        endpoint.check(body, served)
        return [piece.body async for piece in endpoint.stream(body, served, Asked("r", 7, 0))]

    told = "".join(
        choice["delta"].get("content") or "" for each in asyncio.run(pieces()) for choice in each["choices"]
    )
    assert told == asked(catalog(tmp_path), seed=3)["choices"][0]["message"]["content"]


@pytest.mark.parametrize("column", ["question", None])
def test_columns_that_a_chat_cannot_fill_are_refused_before_start(tmp_path, column):
    with pytest.raises(ConfigError, match=r"read several columns \((question, other|other, question)\)"):
        catalog(tmp_path, column=column, prompt="{{ question }} {{ other }}")
