"""Text body: the keys that chat completions and completions share, and the sampling that they mean."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from raygen.config.sampling import Sampling
from raygen.wire.base import WireModel
from raygen.wire.errors import ApiError

MOST_SAMPLES = 128
MOST_BIASES = 1024
# Keys that change nothing here.
IGNORED = frozenset(
    {
        "user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_options",
        "prompt_cache_retention", "prediction", "verbosity", "reasoning_effort",
    }
)  # fmt: skip
# Keys that are Sampling's own, under the same names.
SAMPLING = (
    *("temperature", "presence_penalty", "frequency_penalty", "min_p", "repetition_penalty", "min_tokens"),
    *("stop", "stop_token_ids"),
)
Text = Annotated[str, Field(min_length=1)]


TokenKey = Annotated[str, Field(pattern=r"^[0-9]{1,9}$")]
Bias = Annotated[float, Field(ge=-100, le=100)]


def _few(given: Any) -> Any:
    """Refuse many before each is looked at."""
    if isinstance(given, dict) and len(given) > MOST_BIASES:
        raise ValueError(f"{len(given)} tokens; at most {MOST_BIASES} may have a bias")
    return given


class StreamOptions(WireModel):
    include_usage: bool | None = Field(None, description="a last event tells the usage")


class StructuredOutputs(WireModel):
    """What a whole answer has to be; one of them. An extension, named as vLLM names it."""

    regex: str | None = None
    grammar: str | None = Field(None, description="of Lark, as llguidance reads them")
    choice: Annotated[list[str], Field(fail_fast=True)] | None = None
    json_: dict[str, Any] | str | None = Field(None, alias="json", description="a JSON schema")


class JsonSchema(WireModel):
    name: str | None = None
    description: str | None = None
    schema_: dict[str, Any] | None = Field(None, alias="schema")
    strict: bool | None = Field(None, description="answers keep to the schema in either case")


class ResponseFormat(WireModel):
    type: str = Field(description="text, json_object or json_schema")
    json_schema: JsonSchema | None = None


class Extensions(WireModel):
    """What only raygen knows."""

    trace: bool | None = Field(None, description="of a program: tell what each step did and decided")


class TextBody(WireModel):
    """What a request for texts says, whichever endpoint it asks."""

    model: Text
    n: Annotated[int, Field(ge=1, le=MOST_SAMPLES)] | None = Field(None, description="answers; 1 if unset")
    max_tokens: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    stop: Text | Annotated[list[Text], Field(max_length=16, fail_fast=True)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), le=2**64 - 1)] | None = Field(
        None, description="the same body with the same seed gets the same answer"
    )
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    logit_bias: Annotated[dict[TokenKey, Bias], BeforeValidator(_few)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    # Extensions.
    top_k: Annotated[int, Field(ge=-1, le=1_000_000)] | None = Field(None, description="0 and -1: off")
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=100)] | None = None
    min_tokens: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    stop_token_ids: (
        Annotated[list[Annotated[int, Field(ge=0, lt=2**31)]], Field(max_length=64, fail_fast=True)] | None
    ) = None
    response_format: ResponseFormat | None = None
    structured_outputs: StructuredOutputs | None = None
    guided_json: dict[str, Any] | str | None = None
    guided_regex: str | None = None
    guided_choice: Annotated[list[str], Field(fail_fast=True)] | None = None
    guided_grammar: str | None = None
    raygen: Extensions | None = None
    # Known, and without effect.
    user: str | None = None
    metadata: dict[str, Any] | None = None
    store: bool | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_options: dict[str, Any] | None = None
    prompt_cache_retention: str | None = None
    prediction: dict[str, Any] | None = None
    verbosity: str | None = None
    reasoning_effort: str | None = None

    @property
    def samples(self) -> int:
        """How many answers a prompt gets."""
        return self.n or 1

    def check_stream_options(self) -> None:
        """Raise ApiError `invalid_value`: options of a stream, and no stream."""
        if self.stream_options is not None and not self.stream:
            raise ApiError(
                400, "invalid_value", "stream_options: only beside `stream: true`", "stream_options"
            )

    @property
    def tells_usage(self) -> bool:
        """Whether a stream ends with an event of usage."""
        return bool(self.stream_options and self.stream_options.include_usage)

    @property
    def traced(self) -> bool:
        """Whether an answer tells how a program came to it."""
        return bool(self.raygen and self.raygen.trace)

    def sampling(self, max_tokens: int, logprobs: int | None) -> Sampling:
        """Return how tokens are drawn. Raises ApiError `invalid_value`."""
        if (self.min_tokens or 0) > max_tokens:
            raise ApiError(
                400,
                "invalid_value",
                f"min_tokens: {self.min_tokens} is more than the most that an answer may have, {max_tokens}",
                "min_tokens",
            )
        given = {name: value for name in SAMPLING if (value := getattr(self, name)) is not None}
        if self.top_p is not None:
            given["top_p"] = self.top_p or 1e-9  # OpenAI takes 0: the most probable token alone
        if self.top_k is not None:
            given["top_k"] = max(self.top_k, 0)
        if self.logit_bias:
            given["logit_bias"] = {int(token): bias for token, bias in self.logit_bias.items()}
        return Sampling(max_tokens=max_tokens, logprobs=logprobs, **given)


def seeds(seed: int, samples: int, prompt: int = 0) -> list[int]:
    """Return a seed for each sample: 53 bits, so that they survive JSON. Depends on nothing but the arguments."""
    return [
        int.from_bytes(hashlib.blake2b(f"{seed}:{prompt}:{i}".encode(), digest_size=8).digest(), "big") >> 11
        for i in range(samples)
    ]
