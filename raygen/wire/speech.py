"""Speech: a text in, a sound out, as bytes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from raygen.config.media import SpeakSettings
from raygen.engines.requests import Media, SpeakRequest
from raygen.usage import AUDIO_SECONDS, Usage
from raygen.wire.base import Answered, Asked, Endpoint, Served, WireModel
from raygen.wire.errors import ApiError
from raygen.wire.facts import check_verb
from raygen.wire.text.body import seeds

CHARACTERS_A_SECOND = 10  # of slow speech, to reserve by


class SpeechBody(WireModel):
    """The body of a request for speech."""

    model: str
    input: Annotated[str, Field(min_length=1, max_length=100_000)]
    voice: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    response_format: Literal["wav", "flac", "opus", "mp3", "aac", "pcm"] | None = None
    speed: Annotated[float, Field(ge=0.25, le=4)] | None = None
    # Extensions.
    language: Annotated[str, Field(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$")] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    # OpenAI's words about how it is to be said; no engine here takes them.
    instructions: str | None = None
    stream_format: Literal["audio", "sse"] | None = None


class Speech(Endpoint[SpeechBody]):
    """Speaks a text."""

    path = "/v1/audio/speech"
    verb = "speak"
    Body = SpeechBody

    def check(self, body: SpeechBody, served: Served) -> None:
        check_verb(served, self.verb, self.path)
        for key, wrong in (
            ("response_format", body.response_format in ("aac", "pcm")),
            ("instructions", bool(body.instructions)),
            ("stream_format", body.stream_format == "sse"),
        ):
            if wrong:
                raise ApiError(400, "unsupported_parameter", f"{key}: it is not taken here", key)

    def reserve(self, body: SpeechBody) -> Usage:
        return Usage({AUDIO_SECONDS: len(body.input) / CHARACTERS_A_SECOND})

    async def answer(self, body: SpeechBody, served: Served, asked: Asked) -> Answered:
        form: Literal["wav", "flac", "opus", "mp3"] = "mp3"  # OpenAI's own default
        if body.response_format in ("wav", "flac", "opus", "mp3"):
            form = body.response_format
        settings = SpeakSettings(
            voice=body.voice, language=body.language, speed=body.speed or 1.0, format=form
        )
        base = body.seed if body.seed is not None else asked.seed
        request = SpeakRequest(
            asked.request_id, body.input, settings, seeds(base, 1), priority=asked.priority
        )
        result = await served.engine.speak(request)
        sample = result.samples[0]
        return Answered(Media(sample.media, sample.media_type), result.usage)
