"""Pieces: what vLLM is asked and what it says of one sample, and the log-probabilities in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from raygen.engines.requests import TokenLogprob


@dataclass(slots=True)
class Piece:
    """What vLLM has newly said of one sample: the whole of it, or the next tokens of a stream."""

    index: int  # of the sample, in the order of the request's seeds
    text: str
    tokens: list[int]
    logprobs: Sequence[Any] | None
    finish_reason: str | None
    cached: int  # prompt tokens that were not computed again


@dataclass(slots=True)
class Prompt:
    tokens: list[int]
    params: list[dict[str, Any]]  # one a sample
    adapter: str | None
    structured: dict[str, Any] | None  # vLLM's structured outputs parameters
    priority: int = 0  # lower ones first


def logprobs_of(
    piece: Piece, wanted: int | None, token_text: Callable[[int], str]
) -> list[TokenLogprob] | None:
    """Return a piece's tokens with their log-probabilities and `wanted` most probable others; None: not asked for or said."""
    if wanted is None or piece.logprobs is None:
        return None
    told = []
    for token, found in zip(piece.tokens, piece.logprobs, strict=True):
        ranked = sorted(found, key=lambda other: (-found[other].logprob, other))[:wanted]
        top = [(other, token_text(other), found[other].logprob) for other in ranked]
        told.append(TokenLogprob(token, token_text(token), found[token].logprob, top))
    return told
