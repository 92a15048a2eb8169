"""The answer step: a line of an OpenAI batch file to its response, by the endpoint that answers HTTP requests too."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

import orjson
from pydantic import Field, field_validator

from raygen.config.base import Frozen
from raygen.engines.requests import GeneratedSample, Media, MediaSample
from raygen.errors import EngineError, RowError, UnaskedError
from raygen.json_text import read_json
from raygen.steps.base import Step
from raygen.steps.row.seeds import seed_of
from raygen.usage import OUTPUT_TOKENS, PROMPT_TOKENS
from raygen.wire import ENDPOINTS, endpoint_at
from raygen.wire.base import Answered, Asked, Served
from raygen.wire.errors import ApiError, api_error
from raygen.wire.parse import parse_body

if TYPE_CHECKING:
    from collections.abc import Sequence

    from raygen.steps.context import Context
    from raygen.steps.row.calls import Calls
    from raygen.steps.row.story import Story

MEDIA = frozenset({"/v1/audio/speech"})  # endpoints that answer with bytes


class Answer(Frozen):
    """Answer lines of an OpenAI batch file: {custom_id, method, url, body}, each by the endpoint that they name."""

    endpoint: str = Field(description="the path that every line names, such as /v1/chat/completions")
    model: str = Field(description="the job's name of the model that answers")
    served_as: str | None = Field(
        None, description="the `model` that bodies have to name; any name is taken if unset"
    )
    adapter: str | None = Field(None, description="one of the model's adapters; the model itself if unset")
    created_s: int = Field(0, ge=0, description="`created` of all answers, in seconds since the epoch")

    @field_validator("endpoint")
    @classmethod
    def _is_served(cls, path: str) -> str:
        if path not in ENDPOINTS:
            raise ValueError(f"no endpoint {path!r}; endpoints: {', '.join(ENDPOINTS.names())}")
        return path


class AnswerStep(Step):
    """One response a row. What an endpoint refuses fails the row, and the refusal stays as a discarded sample.

    The sample's text is JSON: of an answer its body, of a refusal {status_code, body}. An answer depends on the run's seed, the
    row's id and its body alone, ids and stamps included, so that a replay gives the same bytes.
    """

    about_samples = frozenset()
    needs_samples = False
    begins = True

    Config = Answer

    config: Answer

    def __init__(
        self, config: Answer, name: str, where: str, context: Context, before: Sequence[Step] = ()
    ) -> None:
        super().__init__(config, name, where, context, before)
        self.columns = {"body": f"{where}: a batch file", "url": f"{where}: a batch file"}
        self._endpoint = endpoint_at(config.endpoint)

    @classmethod
    def models(cls, config: Answer) -> Iterable[tuple[str, str, str]]:
        if verb := endpoint_at(config.endpoint).verb:
            yield "model", config.model, verb

    @classmethod
    def makes_media(cls, config: Answer) -> bool:
        return config.endpoint in MEDIA

    async def run(self, story: Story, calls: Calls) -> None:
        """Answer the row's line. Raises RowError: it was refused, failed, or never asked; EngineError: the engine is broken."""
        story.settle(None)
        seed = seed_of(self.run_seed, story.row_id, 0, story.attempt, self.name)
        asked = Asked(request_name(self.run_seed, story.row_id), seed, self.config.created_s)
        try:
            answered = await self._answer(story, calls, asked)
        except (EngineError, UnaskedError):
            raise
        except Exception as error:
            found = api_error(error)
            if not isinstance(error, ApiError | RowError):
                raise
            self._keep_refusal(story, seed, asked, found)
            raise RowError(found.code, found.message, self.name) from None
        calls.computed += 1
        calls.usage += answered.usage
        draft = story.draft(
            self.name,
            f"answer-{asked.request_id}",
            0,
            seed,
            _sample(answered),
            _whole(answered.usage.get(PROMPT_TOKENS)),
        )
        story.decide(self.name, "answered", draft, model=self.config.model)

    async def _answer(self, story: Story, calls: Calls, asked: Asked) -> Answered:
        url = story.row.get("url")
        if url is not None and url != self.config.endpoint:
            raise ApiError(
                400, "url_mismatch", f"url: {url!r}; this batch is for {self.config.endpoint}", "url"
            )
        line = story.row.get("body")
        if isinstance(line, str | bytes):  # a table holds bodies as JSON text
            line = read_json(line)
        if not isinstance(line, dict):
            raise ApiError(400, "invalid_request", "body: it is to be a JSON object", "body")
        body = parse_body(self._endpoint, line)
        named = self._endpoint.model_of(body)
        served_as = self.config.served_as or named or self.config.model
        if named is not None and named != served_as:
            raise ApiError(
                404, "model_not_found", f"model: {named!r}; this batch asks {served_as!r}", "model"
            )
        if getattr(body, "stream", None):
            raise ApiError(400, "invalid_value", "stream: a batch has no streams", "stream")
        engine = calls.engines[self.config.model]
        served = Served(served_as, engine, engine.model, self.config.adapter, self.config.created_s)
        self._endpoint.check(body, served)
        return await self._endpoint.answer(body, served, asked)

    def _keep_refusal(self, story: Story, seed: int, asked: Asked, error: ApiError) -> None:
        refusal = {"status_code": error.status, "body": error.body()}
        text = orjson.dumps(refusal).decode()
        sample = GeneratedSample(text, "stop", 0)
        draft = story.draft(self.name, f"answer-{asked.request_id}", 0, seed, sample, None)
        story.reject(draft, self.name, error.code, error.message[:500])


def request_name(run_seed: int, row_id: str) -> str:
    """Return the name of a line's request: the same each time, and another in every batch."""
    text = f"{run_seed}\0{row_id}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, digest_size=12).hexdigest()


def _sample(answered: Answered) -> GeneratedSample | MediaSample:
    if isinstance(answered.body, Media):
        seconds = answered.usage.get("audio_seconds")
        return MediaSample(answered.body.data, answered.body.media_type, seconds=seconds)
    output = _whole(answered.usage.get(OUTPUT_TOKENS))
    others = {unit: n for unit, n in answered.usage.items() if unit not in (PROMPT_TOKENS, OUTPUT_TOKENS)}
    return GeneratedSample(orjson.dumps(answered.body).decode(), "stop", output, units=others or None)


def _whole(amount: float | None) -> int | None:
    return None if amount is None else int(amount)
