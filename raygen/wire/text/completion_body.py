"""Completion body: texts or tokens that a model is to go on from, and the requests of an engine that they become."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, PlainValidator, WithJsonSchema

from raygen.config.constraint import Constraint
from raygen.engines.requests import GenerateRequest
from raygen.wire.base import Asked, Served
from raygen.wire.errors import ApiError
from raygen.wire.facts import facts_of, unsupported
from raygen.wire.text.asking import row_id_of
from raygen.wire.text.body import TextBody, seeds

MOST_TOKENS = 16  # of an answer, where a body names none: OpenAI's number
MOST_PROMPTS = 2048
MOST_CHOICES = 4096  # of all prompts


def _prompts(given: Any) -> Any:
    """Check what is given as prompts: by hand, for what is wrong with one of a million tokens is told in one line."""
    if isinstance(given, str) or _is_tokens(given):
        return given
    if not isinstance(given, list) or not given:
        raise ValueError("a text, token ids, or a list of texts or of lists of token ids")
    if all(isinstance(each, str) for each in given) or all(_is_tokens(each) for each in given):
        if len(given) > MOST_PROMPTS:
            raise ValueError(f"{len(given)} prompts; at most {MOST_PROMPTS} are taken")
        return given
    raise ValueError("all are texts, or all are lists of token ids, none of them empty")


def _is_tokens(given: Any) -> bool:
    return (
        isinstance(given, list)
        and bool(given)
        and all(type(each) is int and 0 <= each < 2**31 for each in given)
    )


_TOKENS = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1}
_TEXTS = {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": MOST_PROMPTS}
_PROMPT_SCHEMA = {
    "anyOf": [
        {"type": "string"},
        _TEXTS,
        _TOKENS,
        {"type": "array", "items": _TOKENS, "minItems": 1, "maxItems": MOST_PROMPTS},
    ]
}
Prompt = str | list[str] | list[int] | list[list[int]]


class CompletionBody(TextBody):
    """One prompt or several, each a text or token ids."""

    prompt: Annotated[Prompt, PlainValidator(_prompts), WithJsonSchema(_PROMPT_SCHEMA)]
    echo: bool | None = Field(None, description="answers begin with the prompt")
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = Field(
        None,
        description="tell log-probabilities, of this many others too; beside `echo` of the prompt's tokens also",
    )
    suffix: str | None = None
    best_of: Annotated[int, Field(ge=1, le=128)] | None = None

    @property
    def prompts(self) -> list[str | list[int]]:
        """The prompts, one by one."""
        given = self.prompt
        if isinstance(given, str):
            return [given]
        if isinstance(given[0], int):
            return [given]
        return list(given)

    @property
    def most_tokens(self) -> int:
        """What an answer may have at most, beside the prompt; 0: only the prompt is told of."""
        return MOST_TOKENS if self.max_tokens is None else self.max_tokens

    @property
    def tells_prompt(self) -> bool:
        """Whether an engine has to tell the prompt's tokens."""
        of_tokens = not isinstance(self.prompt, str) and not isinstance(self.prompt[0], str)
        return bool(self.echo) and (self.logprobs is not None or of_tokens or self.most_tokens == 0)


def completion_requests(
    body: CompletionBody, served: Served, asked: Asked, constraint: Constraint | None = None
) -> list[GenerateRequest]:
    """Return what an engine is asked for, one request a prompt. Raises ApiError."""
    _check(body, served)
    sampling = body.sampling(max(body.most_tokens, 1), body.logprobs)
    samples = body.samples if body.most_tokens else 0  # without seeds nothing is generated
    prompts = body.prompts
    found = []
    for number, prompt in enumerate(prompts):
        name = row_id_of(body, asked)
        # A body's own seed means the same for each prompt; else two prompts that are alike get two answers.
        given = seeds(asked.seed, samples, number) if body.seed is None else seeds(body.seed, samples)
        found.append(
            GenerateRequest(
                name if len(prompts) == 1 or body.seed is not None else f"{name}.{number}",
                [],
                sampling,
                given,
                adapter=served.adapter,
                constraint=constraint,
                prompt=prompt,
                prompt_logprobs=(body.logprobs or 0) if body.tells_prompt else None,
                priority=asked.priority,
            )
        )
    return found


def _check(body: CompletionBody, served: Served) -> None:
    body.check_stream_options()
    facts = facts_of(served)
    if body.suffix:
        raise unsupported(served, "suffix", "goes on from a prompt, and fills no gap before a suffix")
    if body.best_of is not None and body.best_of != body.samples:
        raise unsupported(served, "best_of", "gives all its answers: it is to be the same as n")
    if not facts.takes_raw_prompts:
        raise unsupported(served, "prompt", "takes chats alone: ask /v1/chat/completions")
    if body.most_tokens == 0 and not body.echo:
        raise ApiError(400, "invalid_value", "max_tokens: 0 only beside `echo: true`", "max_tokens")
    if body.tells_prompt and not facts.tells_prompt_logprobs:
        raise unsupported(served, "echo", "does not tell the tokens of a prompt")
    if len(body.prompts) * body.samples > MOST_CHOICES:
        raise ApiError(
            400, "invalid_value", f"n: at most {MOST_CHOICES} answers to all prompts together", "n"
        )
