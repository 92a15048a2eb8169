"""Parts that configurations share: the frozen base, names, patterns, and how a text is sampled."""

from __future__ import annotations

import json
import re
from datetime import date
from typing import Annotated, Any

import regex
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    field_validator,
    model_validator,
)

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")]
# What templates about one sample read beside the row.
SAMPLE_NAMES = frozenset({"sample", "answer", "finding"})


def _not_a_sample_name(name: str) -> str:
    if name in SAMPLE_NAMES:
        raise ValueError(f"{name!r} is what templates call a part of the sample at hand; choose another name")
    return name


Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$"), AfterValidator(_not_a_sample_name)]
Probability = Annotated[float, Field(ge=0, le=1)]
Function = Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]


def _tools_from_text(tools: Any) -> Any:
    return json.loads(tools) if isinstance(tools, str) and tools.lstrip().startswith("[") else tools


def _plain_tools(tools: Any) -> Any:
    if not isinstance(tools, str):
        try:
            json.dumps(tools, allow_nan=False)
        except (TypeError, ValueError) as error:  # YAML has values that JSON has not, such as dates
            raise ValueError(f"cannot be written as JSON: {error}") from None
    return tools


def _tools_to_text(tools: Any) -> Any:
    """As text: models read tools in the order of their keys, and plans are written with sorted keys, without nulls."""
    return tools if isinstance(tools, str) else json.dumps(tools, ensure_ascii=False)


# Tools that a model is told of: a column of lists of them, or the list itself.
Tools = Annotated[
    str | list[dict[str, Any]],
    BeforeValidator(_tools_from_text),
    AfterValidator(_plain_tools),
    PlainSerializer(_tools_to_text, when_used="json"),
]


def _day(given: Any) -> Any:
    """A day as YAML or JSON write it; pydantic would also take numbers, as seconds since 1970."""
    if given is None or type(given) is date or (isinstance(given, str) and DAY.fullmatch(given)):
        return given
    raise ValueError(f"a day, such as 2026-11-30, not {str(given)[:40]!r}")


DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
Day = Annotated[date, BeforeValidator(_day)]


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def in_order(low: float | None, high: float | None) -> None:
    """Raise ValueError when nothing lies between two bounds, at_least and at_most."""
    if low is not None and high is not None and high < low:
        raise ValueError(f"at_most ({high:g}) is less than at_least ({low:g})")


def exactly_one(config: BaseModel, *fields: str) -> str:
    """Return which one of these fields is given. Raises ValueError when none is, or several."""
    given = [field for field in fields if getattr(config, field) is not None]
    if len(given) != 1:
        found = f"given: {', '.join(given)}" if given else "none is given"
        raise ValueError(f"give exactly one of {', '.join(fields)}; {found}")
    return given[0]


def is_unicode(text: str) -> bool:
    """Can a text be stored? Half of a surrogate pair cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_number(text: str) -> bool:
    """Whether a text is a number such as `12`: `isdigit` takes signs like `²` too, which `int` does not."""
    return text.isascii() and text.isdecimal()


def pattern_of(text: str) -> str:
    """Check a regular expression. Raises ValueError."""
    try:
        re.compile(text)
        regex.compile(text)  # which looks for it: see raygen/steps/tools/patterns.py
    except (re.error, regex.error, OverflowError) as error:
        raise ValueError(f"not a regular expression: {error}") from None
    except (RecursionError, MemoryError):
        raise ValueError("a regular expression that is nested too deeply, or too large") from None
    return text


def grouped_pattern(text: str) -> str:
    """Check a regular expression that has to have a group. Raises ValueError."""
    if not re.compile(pattern_of(text)).groups:
        raise ValueError("it has no group: put parentheses around what is wanted")
    return text


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
