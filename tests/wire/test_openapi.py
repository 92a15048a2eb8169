"""The OpenAPI document is one, by the specification's own validator, and says what endpoints take."""

from __future__ import annotations

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from pydantic import BaseModel

from raygen.wire.chat import ChatCompletions
from raygen.wire.completions import Completions
from raygen.wire.models import ModelList, model_list
from raygen.wire.openapi import Described, described, document
from tests.fakes.text_models import saying
from tests.wire.asking import answered


class Page(BaseModel):
    after: str | None = None
    limit: int = 20


ROUTES = [
    described(ChatCompletions()),
    described(Completions()),
    Described("get", "/v1/models", "Models", answer=ModelList, query=Page),
    Described(
        "get", "/v1/files/{file_id}/content", "Bytes", media=("application/octet-stream",), refusals=(409,)
    ),
    Described("get", "/health", "Health", open=True),
]
DOCUMENT = document("raygen", "1", ROUTES)


def schema_of(name: str) -> Draft202012Validator:
    return Draft202012Validator(
        {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}
    )


def test_the_document_is_valid():
    OpenAPIV31SpecValidator(DOCUMENT).validate()
    assert set(DOCUMENT["paths"]) == {route.path for route in ROUTES}
    assert "409" in DOCUMENT["paths"]["/v1/files/{file_id}/content"]["get"]["responses"]


@pytest.mark.parametrize("fits", [True, False])
def test_the_document_tells_which_bodies_are_taken(fits):
    body = {
        "model": "m",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}],
        "n": 2 if fits else 0,
    }
    assert schema_of("ChatBody").is_valid(body) is fits
    assert (
        schema_of("CompletionBody").is_valid({"model": "m", "prompt": [[1, 2]] if fits else [["a"]]}) is fits
    )


def test_answers_fit_the_document():
    served = saying("<think>a</think>hi", reasoning_tags=True)
    hi = [{"role": "user", "content": "hi"}]
    schema_of("ChatCompletion").validate(
        answered(ChatCompletions(), served, messages=hi, logprobs=True, top_logprobs=1)
    )
    told = answered(Completions(), saying("a"), prompt="a b", echo=True, logprobs=1)
    schema_of("TextCompletion").validate(told)
    schema_of("ModelList").validate(model_list([served]))
