"""Sampling: how the tokens of a text are drawn."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from raygen.config.base import Frozen


class Sampling(Frozen):
    temperature: float = Field(1.0, ge=0, le=100)
    top_p: float = Field(1.0, gt=0, le=1)
    top_k: int = Field(0, ge=0, description="0: off")
    min_p: float = Field(0.0, ge=0, le=1, description="least probability, as a part of the largest; 0: off")
    repetition_penalty: float = Field(1.0, gt=0, le=100, description="of tokens in prompt or output; 1: off")
    presence_penalty: float = Field(0.0, ge=-2, le=2, description="once for a token in the output; 0: off")
    frequency_penalty: float = Field(0.0, ge=-2, le=2, description="each time a token is in the output")
    logit_bias: dict[int, Annotated[float, Field(ge=-100, le=100)]] = Field(
        {}, max_length=1024, description="token id: what to add to its logit"
    )
    max_tokens: int = Field(256, ge=1, le=1_000_000)
    min_tokens: int = Field(
        0, ge=0, le=1_000_000, description="before these, no end-of-text token and no stop"
    )
    stop: tuple[str, ...] = Field((), max_length=16)
    stop_token_ids: tuple[Annotated[int, Field(ge=0)], ...] = Field((), max_length=64)
    logprobs: int | None = Field(
        None, ge=0, le=20, description="log-probabilities: of the chosen token (0), and of so many others"
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
