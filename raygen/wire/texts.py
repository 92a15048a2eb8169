"""What chats and completions share: sampling and constraints from bodies, seeds, usage objects, how probable tokens are."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any

from pydantic import Field, ValidationError

from raygen.config.constraint import Constraint
from raygen.config.sampling import Sampling
from raygen.engines import engine_facts
from raygen.engines.finish import UNTOLD
from raygen.engines.requests import GenerateResult
from raygen.usage import OUTPUT_TOKENS, PROMPT_TOKENS, Usage
from raygen.wire.base import Served, WireModel
from raygen.wire.errors import ApiError

MOST_CHOICES = 128
DEFAULT_MAX_TOKENS = 4096  # where a body names none; the context may end a text sooner
BYTES_PER_TOKEN = 3  # of a prompt, roughly: to reserve by, before anything is tokenized


class StreamOptions(WireModel):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class StructuredOutputs(WireModel):
    """An extension: what the text has to be. One of these."""

    choice: list[str] | None = None
    regex: str | None = None
    json_: dict[str, Any] | None = Field(None, alias="json")
    grammar: str | None = None


class TextBody(WireModel):
    """Keys that chats and completions share. null means unset."""

    model: str
    n: Annotated[int, Field(ge=1, le=MOST_CHOICES)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    stop: str | list[str] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: float | None = None
    top_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    # Extensions, as other servers name them.
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    min_tokens: int | None = None
    stop_token_ids: list[int] | None = None
    structured_outputs: StructuredOutputs | None = None
    # Known, and without effect.
    user: str | None = None
    metadata: dict[str, Any] | None = None

    @property
    def choices(self) -> int:
        return self.n or 1


# Keys of a body -> those of Sampling, where they have the same meaning.
_SAME = (
    "temperature",
    "top_p",
    "presence_penalty",
    "frequency_penalty",
    "top_k",
    "min_p",
    "repetition_penalty",
    "min_tokens",
    "stop_token_ids",
)


def sampling_of(body: TextBody, max_tokens: int | None, logprobs: int | None) -> Sampling:
    """Return how a body wants its texts drawn. Raises ApiError `invalid_value`, naming the key."""
    given: dict[str, Any] = {key: getattr(body, key) for key in _SAME if getattr(body, key) is not None}
    if given.get("top_k") == -1:  # off, as vLLM writes it
        del given["top_k"]
    given["max_tokens"] = max_tokens if max_tokens is not None else DEFAULT_MAX_TOKENS
    given["logprobs"] = logprobs
    if body.stop is not None:
        given["stop"] = [body.stop] if isinstance(body.stop, str) else body.stop
    if body.logit_bias:
        given["logit_bias"] = body.logit_bias
    try:
        return Sampling.model_validate(given)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        key = str(fault["loc"][0]) if fault["loc"] else "min_tokens"
        raise ApiError(
            400, "invalid_value", f"{key}: {fault['msg'].removeprefix('Value error, ')}", key
        ) from None


def constraint_of(param: str, **given: Any) -> Constraint:
    """Return a constraint. Raises ApiError `invalid_value`."""
    try:
        return Constraint.model_validate({key: value for key, value in given.items() if value is not None})
    except (ValidationError, ValueError) as error:
        said = error.errors(include_url=False)[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise ApiError(
            400, "invalid_value", f"{param}: {said.removeprefix('Value error, ')}", param
        ) from None


def structured(body: TextBody) -> Constraint | None:
    """Return what `structured_outputs` asks for. Raises ApiError."""
    asked = body.structured_outputs
    if asked is None:
        return None
    return constraint_of(
        "structured_outputs",
        choice=asked.choice,
        regex=asked.regex,
        json_schema=asked.json_,
        grammar=asked.grammar,
    )


def check_constraint(constraint: Constraint | None, served: Served, param: str) -> None:
    """Refuse a constraint that the model does not keep to. Raises ApiError `unsupported_parameter`."""
    if constraint is None:
        return
    spec = served.model.spec
    fault = engine_facts(spec.engine).constraint_fault(constraint, spec.options)
    if fault is not None:
        raise ApiError(400, "unsupported_parameter", f"{param}: model {served.name!r} {fault}", param)


def seeds_of(body: TextBody, seed: int) -> list[int]:
    """Return a seed for each choice, in [0, 2**53): of the body's seed, or of the request's own."""
    base = body.seed if body.seed is not None else seed
    return [
        int.from_bytes(hashlib.blake2b(f"{base}\0{index}".encode(), digest_size=8).digest(), "big") >> 11
        for index in range(body.choices)
    ]


def fingerprint(served: Served) -> str:
    """Return a short name of what generates: the weights, and the engine with its version."""
    text = f"{served.model.digest}\0{served.adapter}\0{served.engine.version}"
    return f"fp_{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def finish_reason(reason: str) -> str:
    """Return OpenAI's word for how a text ended."""
    return "stop" if reason == UNTOLD else reason


def usage_object(
    prompt: int | None, output: int, cached: int | None = None, reasoning: int = 0
) -> dict[str, Any]:
    """Return OpenAI's usage object."""
    prompt = prompt or 0
    return {
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "total_tokens": prompt + output,
        "prompt_tokens_details": {"cached_tokens": cached or 0},
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }


def usage_of(result: GenerateResult) -> dict[str, Any]:
    """Return the usage object of a whole answer."""
    output = sum(sample.output_tokens or 0 for sample in result.samples)
    return usage_object(result.prompt_tokens, output, result.cached_tokens)


def amounts(prompt: int | None, output: int) -> Usage:
    """Return amounts by unit."""
    return Usage({PROMPT_TOKENS: prompt or 0, OUTPUT_TOKENS: output})


def most(prompt_bytes: int, max_tokens: int | None, choices: int) -> Usage:
    """Return roughly the most that an answer uses, before anything is tokenized."""
    output = choices * (max_tokens if max_tokens is not None else DEFAULT_MAX_TOKENS)
    return amounts(prompt_bytes // BYTES_PER_TOKEN + 1, output)
