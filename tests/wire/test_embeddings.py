"""Vectors come as numbers or as bytes; tokens are refused, since they are another tokenizer's."""

from __future__ import annotations

import asyncio
import base64

import numpy as np
import pytest

from raygen.config.model import ModelSpec
from raygen.engines.base import EngineStats
from raygen.engines.requests import EmbedResult
from raygen.models.resolved import ResolvedModel
from raygen.wire.base import Asked, Served
from raygen.wire.embeddings import Embeddings
from raygen.wire.errors import ApiError
from raygen.wire.parse import parse_body

ASKED = Asked("r", 0, 0)


class Lengths:
    """Embeds a text as its length."""

    stats = EngineStats()

    async def embed(self, request):
        vectors = np.array([[len(text), 0.5] for text in request.inputs], np.float32)
        return EmbedResult(vectors, sum(len(text) for text in request.inputs))


SERVED = Served("m", Lengths(), ResolvedModel("m", ModelSpec(family="causal_lm", engine="echo"), None, "d"))


def asked(**body):
    endpoint = Embeddings()
    parsed = parse_body(endpoint, {"model": "m", **body})
    endpoint.check(parsed, SERVED)
    return asyncio.run(endpoint.answer(parsed, SERVED, ASKED)).body


def test_a_list_of_texts_gives_a_vector_each_in_order():
    found = asked(input=["a", "bbb"])
    assert [each["embedding"] for each in found["data"]] == [[1.0, 0.5], [3.0, 0.5]]
    assert found["usage"] == {"prompt_tokens": 4, "total_tokens": 4}


def test_base64_holds_the_same_numbers():
    found = asked(input="bbb", encoding_format="base64")
    numbers = np.frombuffer(base64.b64decode(found["data"][0]["embedding"]), np.float32)
    assert numbers.tolist() == [3.0, 0.5]


@pytest.mark.parametrize("tokens", [[1, 2], [[1, 2], [3]]])
def test_tokens_are_refused_with_a_remedy(tokens):
    with pytest.raises(ApiError) as caught:
        asked(input=tokens)
    assert caught.value.code == "token_input_unsupported"
    assert "check_embedding_ctx_length=False" in caught.value.message


@pytest.mark.parametrize("wrong", [[], [""], [None], "", 3])
def test_what_is_no_text_is_refused(wrong):
    with pytest.raises(ApiError) as caught:
        asked(input=wrong)
    assert caught.value.param.startswith("input")


def test_a_size_that_the_model_does_not_have_is_refused():
    with pytest.raises(ApiError) as caught:
        asked(input="a", dimensions=5)
    assert caught.value.code == "unsupported_parameter"
