"""Usage objects: what an answer took, as clients read it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from raygen.engines.requests import GenerateChunk, GeneratedSample, GenerateResult
from raygen.usage import Usage

BYTES_PER_TOKEN = 2  # few texts have more tokens


class PromptDetails(BaseModel):
    cached_tokens: int


class CompletionDetails(BaseModel):
    reasoning_tokens: int


class UsageBody(BaseModel):
    """What an answer took. Of cached tokens and reasoning: 0 where the engine does not say."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails
    completion_tokens_details: CompletionDetails


@dataclass(slots=True)
class Tokens:
    """What was counted so far; None: the engine does not say."""

    prompt: int | None = None
    output: int | None = 0
    cached: int | None = None
    reasoning: int = 0

    def add(self, result: GenerateResult) -> None:
        """Add what a prompt and its samples took."""
        self.prompt = _sum(self.prompt, result.prompt_tokens)
        for sample in result.samples:
            self.output = _sum(self.output, sample.output_tokens)
        self.cached = (self.cached or 0) + (result.cached_tokens or 0)

    def begin(self, chunk: GenerateChunk) -> None:
        """Add what a stream's piece says of its prompt."""
        if chunk.prompt_tokens is not None:
            self.prompt = (self.prompt or 0) + chunk.prompt_tokens
            self.cached = (self.cached or 0) + (chunk.cached_tokens or 0)

    def body(self) -> dict[str, Any] | None:
        """Return the usage object; None where prompt or output are not known: no number is made up."""
        if self.prompt is None or self.output is None:
            return None
        return {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.output,
            "total_tokens": self.prompt + self.output,
            "prompt_tokens_details": {"cached_tokens": self.cached or 0},
            "completion_tokens_details": {"reasoning_tokens": self.reasoning},
        }

    def usage(self) -> Usage:
        """Return the amounts that are known, for limits and the ledger."""
        found = Usage() if self.prompt is None else Usage(prompt_tokens=self.prompt)
        if self.output is not None:
            found["output_tokens"] = self.output
        return found


def _sum(known: int | None, more: int | None) -> int | None:
    return None if known is None or more is None else known + more


def reasoning_tokens(sample: GeneratedSample, whole: str) -> int:
    """Return about how many of a sample's tokens are reasoning: by its part of the whole text, tags included."""
    return share_of(sample.output_tokens or 0, len(sample.text), len(whole)) if sample.reasoning else 0


def share_of(tokens: int, answer: int, whole: int) -> int:
    """Return how many tokens the part of a text that is no answer has, if all characters have as many."""
    return round(tokens * (1 - answer / whole)) if whole > answer else 0


def reserved(prompt_bytes: int, output_tokens: int) -> Usage:
    """Return what an answer may take, before anything is tokenized."""
    return Usage(prompt_tokens=prompt_bytes // BYTES_PER_TOKEN + 16, output_tokens=output_tokens)
