"""Images: prompts in, pictures out, as base64 within JSON."""

from __future__ import annotations

import base64
import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from raygen.config.media import RenderSettings
from raygen.engines.requests import RenderRequest
from raygen.usage import IMAGES, Usage
from raygen.wire.base import Answered, Asked, Endpoint, Served, WireModel
from raygen.wire.errors import ApiError
from raygen.wire.facts import check_verb
from raygen.wire.text.body import seeds

MOST_IMAGES = 16
LARGEST = 4096  # pixels a side
SIZE = re.compile(r"([1-9]\d{0,4})x([1-9]\d{0,4})")


class ImagesBody(WireModel):
    """The body of a request for pictures."""

    model: str
    prompt: Annotated[str, Field(min_length=1, max_length=32_000)]
    n: Annotated[int, Field(ge=1, le=MOST_IMAGES)] | None = None
    size: str | None = None
    response_format: Literal["url", "b64_json"] | None = None
    output_format: Literal["png", "jpeg", "webp"] | None = None
    # Extensions.
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    steps: Annotated[int, Field(ge=1, le=1000)] | None = None
    guidance: Annotated[float, Field(ge=0, le=100)] | None = None
    # Known, and without effect.
    user: str | None = None
    quality: str | None = None
    style: str | None = None
    background: str | None = None
    moderation: str | None = None
    output_compression: int | None = None


class ImageObject(BaseModel):
    b64_json: str


class ImagesAnswer(BaseModel):
    created: int
    data: list[ImageObject]


class ImageGenerations(Endpoint[ImagesBody]):
    """Renders pictures of a prompt."""

    path = "/v1/images/generations"
    verb = "render"
    Body = ImagesBody
    Answer = ImagesAnswer
    ignored = frozenset({"user", "quality", "style", "background", "moderation", "output_compression"})

    def check(self, body: ImagesBody, served: Served) -> None:
        check_verb(served, self.verb, self.path)
        if body.response_format == "url":
            raise ApiError(
                400,
                "unsupported_parameter",
                "response_format: pictures come with the answer, as b64_json; nothing is kept behind a URL",
                "response_format",
            )
        _settings(body)

    def reserve(self, body: ImagesBody) -> Usage:
        return Usage({IMAGES: body.n or 1})

    async def answer(self, body: ImagesBody, served: Served, asked: Asked) -> Answered:
        base = body.seed if body.seed is not None else asked.seed
        request = RenderRequest(
            asked.request_id,
            _settings(body),
            seeds(base, body.n or 1),
            prompt=body.prompt,
            adapter=served.adapter,
            priority=asked.priority,
        )
        result = await served.engine.render(request)
        data = [{"b64_json": base64.b64encode(sample.media).decode()} for sample in result.samples]
        return Answered({"created": asked.created_s, "data": data}, result.usage)


def _settings(body: ImagesBody) -> RenderSettings:
    """Return how the pictures are made. Raises ApiError `invalid_value`."""
    given: dict[str, Any] = {"format": body.output_format or "png"}
    if body.size is not None and body.size != "auto":
        found = SIZE.fullmatch(body.size)
        sides = (int(found[1]), int(found[2])) if found is not None else (0, 0)
        if not all(1 <= side <= LARGEST for side in sides):
            raise ApiError(
                400,
                "invalid_value",
                f"size: WIDTHxHEIGHT, each 1 to {LARGEST}, such as 512x512; given: {body.size[:40]!r}",
                "size",
            )
        given["size"] = sides
    return RenderSettings(**given, steps=body.steps, guidance=body.guidance)
