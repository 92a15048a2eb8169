"""What a job may say of the way to an endpoint."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from pydantic import ValidationError

from raygen.engines.openai.options import EndpointOptions
from raygen.program.job import Job

SECRET = "sk-proj-Abc123"


def options(**given: Any) -> EndpointOptions:
    return EndpointOptions.model_validate({"base_url": "https://x/v1"} | given)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"headers": {"api-key": SECRET}}, "api-key: must name an environment variable"),
        ({"headers": {"X-Title": "my title"}}, "never hold the value itself"),
        ({"headers": {"Content-Type": "X"}}, "Content-Type: set by the engine"),
        ({"headers": {"Proxy-Authorization": "X"}}, "Proxy-Authorization: set by the engine"),
        ({"headers": {"a b": "X"}}, "'a b' is no header's name"),
        ({"headers": {"a\r\nb": "X"}}, "is no header's name"),
        ({"headers": {"api-key": "X", "API-Key": "Y"}}, "a header is given twice"),
        ({"headers": {"authorization": "X"}, "api_key_env": "Y"}, "leave it or that header out"),
        ({"query": {"key": SECRET}}, "key: may be a secret; name its environment variable under `query_env`"),
        ({"query": {"subscription-key": SECRET}}, "may be a secret"),
        ({"query": {"v": 1.10}}, "string"),
        ({"query": {"v": True}}, "string"),
        ({"query": {"v": "1"}, "query_env": {"v": "X"}}, "v: given in both query and query_env"),
        ({"query_env": {"key": SECRET}}, "key: must name an environment variable"),
        ({"api_key_env": SECRET}, "must name an environment variable"),
        ({"template": {"enable_thinking": False}}, "`extra_body: {chat_template_kwargs: {...}}`"),
        ({"data_as_text": True}, "of engines torch and vllm only"),
        ({"client_key": "k.pem"}, "client_key is of no use without client_cert"),
        ({"proxy": f"http://me:{SECRET}@p:1"}, "'env' or 'none'"),
    ],
)
def test_wrong_options_are_refused_without_printing_a_secret(given: dict[str, Any], says: str):
    with pytest.raises(ValidationError) as caught:
        options(**given)
    assert says in str(caught.value)
    assert SECRET not in str(caught.value)


def test_what_yaml_makes_of_a_version_is_meant_as_text():
    assert options(query={"api-version": date(2024, 10, 21), "v": 2}).query == {
        "api-version": "2024-10-21",
        "v": "2",
    }


@pytest.mark.parametrize(
    ("given", "variable"),
    [
        ({}, "OPENAI_API_KEY"),
        ({"api_key_env": "MY_KEY"}, "MY_KEY"),
        ({"api_key_env": None}, None),
        ({"headers": {"X-Title": "TITLE"}}, "OPENAI_API_KEY"),
        ({"headers": {"API-Key": "AZURE_KEY"}}, None),
        ({"headers": {"Authorization": "BASIC"}}, None),
        ({"headers": {"x-api-key": "GATEWAY"}, "api_key_env": "MY_KEY"}, "MY_KEY"),
    ],
)
def test_a_key_of_openai_goes_nowhere_where_a_header_holds_another(
    given: dict[str, Any], variable: str | None
):
    assert options(**given).key_variable == variable


def test_a_message_can_say_where_the_key_is():
    assert options().credential == "environment variable OPENAI_API_KEY"
    own = options(headers={"X-Title": "TITLE", "api-key": "AZURE_KEY"})
    assert own.credential == "environment variable AZURE_KEY (headers.api-key)"
    assert options(api_key_env=None, headers={"X-Title": "TITLE"}).credential is None


def test_how_an_endpoint_is_reached_is_no_part_of_a_jobs_identity():
    def job(**given: Any) -> Job:
        model = {"family": "causal_lm", "engine": "openai", "ref": "m"}
        return Job.model_validate(
            {
                "name": "j",
                "source": {"format": "jsonl", "uri": "x.jsonl", "key": "id"},
                "models": {"m": model | {"options": {"base_url": "https://x/v1"} | given}},
                "steps": [{"generate": {"model": "m", "prompt": "{{ q }}"}}],
            }
        )

    moved = job(
        headers={"api-key": "AZURE_KEY"},
        query={"api-version": "1"},
        query_env={"code": "CODE"},
        stream=True,
        proxy="none",
        ca_file="ca.pem",
        silence_s=5,
        api_key_env=None,
    )
    assert moved.config_hash() == job().config_hash()
    assert job(send_seed=False).config_hash() != job().config_hash()
