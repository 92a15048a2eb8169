"""Sampling: how the tokens of a text are drawn."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from raygen.config.base import Frozen


class Sampling(Frozen):
    """How the tokens of a text are drawn."""

    temperature: float = Field(
        1.0, ge=0, le=100, description="logits are divided by it; 0: always the most probable token"
    )
    top_p: float = Field(
        1.0,
        gt=0,
        le=1,
        description="only the most probable tokens that have this probability together; 1: off",
    )
    top_k: int = Field(0, ge=0, description="only this many of the most probable tokens; 0: off")
    min_p: float = Field(0.0, ge=0, le=1, description="least probability, as a part of the largest; 0: off")
    repetition_penalty: float = Field(1.0, gt=0, le=100, description="of tokens in prompt or output; 1: off")
    presence_penalty: float = Field(0.0, ge=-2, le=2, description="once for a token in the output; 0: off")
    frequency_penalty: float = Field(0.0, ge=-2, le=2, description="each time a token is in the output")
    logit_bias: dict[int, Annotated[float, Field(ge=-100, le=100)]] = Field(
        {}, max_length=1024, description="token id: what to add to its logit"
    )
    max_tokens: int = Field(
        256,
        ge=1,
        le=1_000_000,
        description="a text is cut off after this many tokens (`finish_reason: length`)",
    )
    min_tokens: int = Field(
        0, ge=0, le=1_000_000, description="before these, no end-of-text token and no stop"
    )
    stop: tuple[str, ...] = Field(
        (), max_length=16, description="texts that end a sample; they are not part of it"
    )
    stop_token_ids: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        (), max_length=64, description="tokens that end a sample"
    )
    logprobs: int | None = Field(
        None, ge=0, le=20, description="log-probabilities: of the chosen token (0), and of this many others"
    )

    @field_validator("stop", mode="before")
    @classmethod
    def _one_or_many(cls, stop: Any) -> Any:
        return (stop,) if isinstance(stop, str) else stop

    @field_validator("stop")
    @classmethod
    def _no_empty_stop(cls, stop: tuple[str, ...]) -> tuple[str, ...]:
        if not all(stop):
            raise ValueError("a stop string must not be empty")
        return stop

    @model_validator(mode="after")
    def _min_below_max(self) -> Sampling:
        if self.min_tokens > self.max_tokens:
            raise ValueError(f"min_tokens ({self.min_tokens}) is more than max_tokens ({self.max_tokens})")
        if any(token < 0 for token in self.logit_bias):
            raise ValueError("logit_bias: a token id is 0 or more")
        return self
