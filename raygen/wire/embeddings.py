"""Embeddings: texts in, one vector for each out."""

from __future__ import annotations

import base64
from typing import Annotated, Any, Literal

import numpy as np
import orjson
from pydantic import Field

from raygen.engines.requests import EmbedRequest
from raygen.usage import ENCODED_TOKENS, Usage
from raygen.wire.base import Answered, Asked, Endpoint, Served, WireModel
from raygen.wire.errors import ApiError
from raygen.wire.text.usage import BYTES_PER_TOKEN

MOST_INPUTS = 2048


class EmbeddingsBody(WireModel):
    """The body of an embeddings request."""

    model: str
    input: Annotated[str, Field(min_length=1)] | list[Any]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Field(ge=1)] | None = None
    user: str | None = None

    @property
    def texts(self) -> list[str]:
        """The texts. Raises ApiError: tokens, which are another tokenizer's, or what is no text."""
        found = [self.input] if isinstance(self.input, str) else self.input
        if not 1 <= len(found) <= MOST_INPUTS:
            raise ApiError(
                400, "invalid_value", f"input: {len(found)} texts; 1 to {MOST_INPUTS} are allowed", "input"
            )
        if all(isinstance(each, int) for each in found) or any(isinstance(each, list) for each in found):
            raise ApiError(
                400,
                "token_input_unsupported",
                "input: token ids are not taken, since they are another tokenizer's; send texts "
                "(with langchain: OpenAIEmbeddings(check_embedding_ctx_length=False))",
                "input",
            )
        for number, each in enumerate(found):
            if not isinstance(each, str) or not each:
                raise ApiError(400, "invalid_value", f"input.{number}: it is to be a text", f"input.{number}")
        return found


class Embeddings(Endpoint[EmbeddingsBody]):
    """Embeddings: a vector for each text."""

    path = "/v1/embeddings"
    verb = "embed"
    Body = EmbeddingsBody
    ignored = frozenset({"user"})

    def check(self, body: EmbeddingsBody, served: Served) -> None:
        if body.dimensions is not None:
            raise ApiError(
                400,
                "unsupported_parameter",
                f"dimensions: vectors of model {served.name!r} have one size; leave it out",
                "dimensions",
            )
        if served.adapter is not None:
            raise ApiError(
                400, "unsupported_parameter", "model: an adapter writes, it does not embed", "model"
            )

    def reserve(self, body: EmbeddingsBody) -> Usage:
        return Usage({ENCODED_TOKENS: len(orjson.dumps(body.input)) // BYTES_PER_TOKEN + 1})

    async def answer(self, body: EmbeddingsBody, served: Served, asked: Asked) -> Answered:
        texts = body.texts
        result = await served.engine.embed(EmbedRequest(asked.request_id, texts, priority=asked.priority))
        vectors = np.ascontiguousarray(result.vectors, np.float32)
        if body.encoding_format == "base64":
            told: list[Any] = [base64.b64encode(vector.tobytes()).decode() for vector in vectors]
        else:
            told = [[float(value) for value in vector] for vector in vectors]
        data = [{"object": "embedding", "index": n, "embedding": each} for n, each in enumerate(told)]
        usage = {"prompt_tokens": result.tokens, "total_tokens": result.tokens}
        return Answered({"object": "list", "data": data, "model": served.name, "usage": usage}, result.usage)
