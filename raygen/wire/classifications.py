"""Classifications, an extension: texts or pairs of texts in, the labels' probabilities for each out."""

from __future__ import annotations

from typing import Annotated, Any

import orjson
from pydantic import Field

from raygen.engines.requests import ClassifyRequest
from raygen.usage import ENCODED_TOKENS, Usage
from raygen.wire.base import Answered, Asked, Endpoint, Served, WireModel
from raygen.wire.errors import ApiError
from raygen.wire.text.usage import BYTES_PER_TOKEN

MOST_INPUTS = 2048


class Pair(WireModel):
    """Two texts, such as a premise and a hypothesis."""

    text: str
    text_pair: str


class ClassificationsBody(WireModel):
    """The body of a classifications request: a text, or a list of texts and pairs."""

    model: str
    input: str | Pair | Annotated[list[str | Pair], Field(min_length=1, max_length=MOST_INPUTS)]

    @property
    def texts(self) -> list[str | tuple[str, str]]:
        given = self.input if isinstance(self.input, list) else [self.input]
        return [each if isinstance(each, str) else (each.text, each.text_pair) for each in given]


class Classifications(Endpoint[ClassificationsBody]):
    """Classifications: the probability of each label for each text or pair of texts."""

    path = "/v1/classifications"
    verb = "classify"
    Body = ClassificationsBody

    def check(self, body: ClassificationsBody, served: Served) -> None:
        if served.adapter is not None:
            raise ApiError(
                400, "unsupported_parameter", "model: an adapter writes, it does not classify", "model"
            )

    def reserve(self, body: ClassificationsBody) -> Usage:
        size = sum(len(orjson.dumps(each)) for each in body.texts)
        return Usage({ENCODED_TOKENS: size // BYTES_PER_TOKEN + 1})

    async def answer(self, body: ClassificationsBody, served: Served, asked: Asked) -> Answered:
        request = ClassifyRequest(asked.request_id, body.texts, priority=asked.priority)
        result = await served.engine.classify(request)
        data: list[dict[str, Any]] = []
        for index, found in enumerate(result.probabilities):
            label = max(found, key=lambda name: found[name])
            data.append({"index": index, "label": label, "probabilities": found})
        whole = {
            "id": f"classify-{asked.request_id}",
            "object": "list",
            "created": asked.created_s,
            "model": served.name,
            "data": data,
            "usage": {"prompt_tokens": result.tokens, "total_tokens": result.tokens},
        }
        return Answered(whole, result.usage)
