"""Pictures over the wire: as base64, in the size that was asked for; what is not taken is refused."""

from __future__ import annotations

import asyncio
import base64

import pytest

from raygen.config.model import ModelSpec
from raygen.engines.echo import EchoEngine
from raygen.models.resolved import ResolvedModel
from raygen.wire import endpoint_at
from raygen.wire.base import Asked, Served
from raygen.wire.errors import ApiError
from raygen.wire.parse import parse_body


def asked(path="/v1/images/generations", family="diffusion", **body):
    endpoint = endpoint_at(path)
    model = ResolvedModel("m", ModelSpec(family=family, engine="echo"), None, "d")

    async def ask():
        engine = EchoEngine(model)
        await engine.start()
        parsed = parse_body(endpoint, {"model": "m", **body})
        served = Served("m", engine, model)
        endpoint.check(parsed, served)
        return await endpoint.answer(parsed, served, Asked("r", 0, 0))

    return asyncio.run(ask())


def test_pictures_come_as_base64_and_follow_the_seed():
    first, again = (asked(prompt="a cat", n=2, size="16x8", seed=1).body for _ in range(2))
    pictures = [base64.b64decode(each["b64_json"]) for each in first["data"]]
    assert all(picture.startswith(b"\x89PNG") for picture in pictures)
    assert int.from_bytes(pictures[0][16:20], "big") == 16
    assert pictures[0] != pictures[1]
    assert first == again


@pytest.mark.parametrize(
    ("key", "value"), [("response_format", "url"), ("size", "0x5"), ("size", "big"), ("n", 0), ("prompt", "")]
)
def test_what_is_not_taken_names_its_key(key, value):
    with pytest.raises(ApiError) as caught:
        asked(**{"prompt": "a cat", key: value})
    assert caught.value.param == key


def test_a_model_of_another_kind_is_refused():
    with pytest.raises(ApiError) as caught:
        asked(family="causal_lm", prompt="a cat")
    assert caught.value.code == "unsupported_model"


def test_speech_is_refused_of_a_model_that_does_not_speak():
    with pytest.raises(ApiError) as caught:
        asked("/v1/audio/speech", input="hello", voice="v")
    assert caught.value.code == "unsupported_model"
