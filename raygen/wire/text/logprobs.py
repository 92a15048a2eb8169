"""Log-probabilities as answers hold them: those of chats, and those of completions, which are older."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from raygen.engines.requests import TokenLogprob

UNLIKELY = -9999.0  # what OpenAI writes where JSON has no number


def chat_logprobs(tokens: Sequence[TokenLogprob]) -> dict[str, Any]:
    """Return what a chat's choice holds."""
    content = [
        {
            **_token(each.token, each.logprob),
            "top_logprobs": [_token(text, logprob) for _, text, logprob in each.top],
        }
        for each in tokens
    ]
    return {"content": content, "refusal": None}


def text_logprobs(tokens: Sequence[TokenLogprob], offset: int = 0, others: int = 0) -> dict[str, Any]:
    """Return what a completion's choice holds.

    Args:
        tokens: the first of a prompt has no log-probability.
        offset: characters that stand before them.
        others: how many of the most probable tokens are told beside each; 0: none.
    """
    offsets = []
    for each in tokens:
        offsets.append(offset)
        offset += len(each.token)
    return {
        "tokens": [each.token for each in tokens],
        "token_logprobs": [None if each.logprob is None else _number(each.logprob) for each in tokens],
        "top_logprobs": [_top(each) for each in tokens] if others else None,
        "text_offset": offsets,
    }


def _top(token: TokenLogprob) -> dict[str, float] | None:
    if token.logprob is None:
        return None
    found: dict[str, float] = {}
    for _, text, logprob in token.top:
        found.setdefault(text, _number(logprob))  # two tokens may have one text: the more probable one stays
    found.setdefault(token.token, _number(token.logprob))
    return found


def _token(text: str, logprob: float | None) -> dict[str, Any]:
    # What is no text by itself has become a replacement character: its bytes are not known.
    known = None if "�" in text else list(text.encode("utf-8", "replace"))
    return {"token": text, "logprob": _number(logprob), "bytes": known}


def _number(logprob: float | None) -> float:
    return UNLIKELY if logprob is None or not math.isfinite(logprob) else logprob
