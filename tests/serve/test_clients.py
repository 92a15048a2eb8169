"""Clients that people have: the official one, whole and asynchronous, and langchain's, with nothing changed but the address.

Each test runs inline and on Ray Serve.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator

import openai
import pytest

HI = [{"role": "user", "content": "hi"}]


@pytest.fixture
def client(service_url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{service_url}/v1", api_key="none") as found:  # with its own retries
        yield found


def test_vectors_are_the_same_as_numbers_and_as_the_bytes_that_the_client_asks_for(
    client: openai.OpenAI,
) -> None:
    asked = {"model": "minilm", "input": ["a", "b"]}
    packed = client.embeddings.create(**asked)  # the client's own choice is base64
    told = client.embeddings.create(**asked, encoding_format="float")
    assert [each.embedding for each in packed.data] == [each.embedding for each in told.data]
    assert packed.usage.total_tokens > 0


def test_pictures_come_as_bytes(client: openai.OpenAI) -> None:
    found = client.images.generate(model="painter", prompt="a cat", n=2, size="16x16", extra_body={"seed": 1})
    assert all(base64.b64decode(each.b64_json).startswith(b"\x89PNG") for each in found.data)


def test_what_no_model_here_does_is_a_bad_request(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.audio.speech.create(model="speaker", input="hello", voice="alloy")
    assert caught.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as caught:
        client.audio.speech.create(model="echo", input="hello", voice="alloy")
    assert caught.value.code == "unsupported_model"


def test_extensions_are_asked_for_by_path(client: openai.OpenAI) -> None:
    check = {"entailment": {"premise": "{{ source }}"}}
    body = {"model": "nli", "check": check, "items": [{"text": "a", "row": {"source": "b"}}]}
    found = client.post("/evaluations", body=body, cast_to=object)
    assert found["aggregate"]["n"] == 1
    pair = {"model": "nli", "input": {"text": "a", "text_pair": "b"}}
    labels = client.post("/classifications", body=pair, cast_to=object)["data"][0]["probabilities"]
    assert sum(labels.values()) == pytest.approx(1)


def test_the_asynchronous_client_asks_everything_at_once(service_url: str) -> None:
    async def ask() -> None:
        async with openai.AsyncOpenAI(base_url=f"{service_url}/v1", api_key="none") as client:
            chat = client.chat.completions
            stream = await chat.create(model="echo", messages=HI, stream=True, seed=1)
            pieces = [each.choices[0].delta.content or "" async for each in stream if each.choices]
            whole, text, vectors, models = await asyncio.gather(
                chat.create(model="echo", messages=HI, seed=1),
                client.completions.create(model="echo", prompt="hi"),
                client.embeddings.create(model="minilm", input="a"),
                client.models.list(),
            )
            assert "".join(pieces) == whole.choices[0].message.content
            assert text.choices[0].text
            assert len(vectors.data) == 1
            assert {"echo", "minilm", "nli", "painter"} <= {each.id for each in models.data}

    asyncio.run(ask())


def test_langchain_chats_streams_and_embeds(service_url: str) -> None:
    langchain = pytest.importorskip("langchain_openai")
    to = {"base_url": f"{service_url}/v1", "api_key": "none"}
    chat = langchain.ChatOpenAI(model="echo", seed=1, **to)
    whole = chat.invoke("hi")
    assert whole.content
    assert whole.usage_metadata["output_tokens"] > 0
    assert "".join(piece.content for piece in chat.stream("hi")) == whole.content
    embeddings = langchain.OpenAIEmbeddings(model="minilm", check_embedding_ctx_length=False, **to)
    assert len(embeddings.embed_documents(["a", "b"])) == 2
