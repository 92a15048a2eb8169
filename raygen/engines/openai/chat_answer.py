"""Chat answer: one choice of a chat completion, as parsed JSON. The text comes first; what cannot be read beside it is null."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from raygen.engines.finish import finish_of
from raygen.engines.requests import GeneratedSample, TokenLogprob

THOUGHTS = ("thinking", "reasoning")  # types of content parts that are no text: Mistral, Anthropic
LONGEST_WORDS = 1000  # characters of what an endpoint says of a fragment


class Fragment(Exception):
    """A choice that is no answer: what there is of it came before a fault."""


def read_choice(choice: Mapping[str, Any]) -> GeneratedSample:
    """Return the sample that a choice is, without its number of tokens, which is told of all choices together.

    Raises:
        Fragment: it ended in a fault, in the endpoint's words.
        ValueError, TypeError, KeyError, AttributeError: it is no choice.
    """
    word = choice.get("finish_reason")
    finish = finish_of(word)
    if choice.get("error") or finish is None:
        raise Fragment(f"the answer broke off with finish_reason {word!r}{said_in(choice.get('error'))}")
    message = choice["message"]
    content = message.get("content")
    # What a content filter or a tool call leaves is null.
    text = "" if content is None else content if isinstance(content, str) else _parts(content, "text")
    text.encode()  # half of a surrogate pair cannot be stored: a ValueError
    reasoning = message.get("reasoning_content") or message.get("reasoning")
    if not reasoning and isinstance(content, list):
        reasoning = _parts(content, *THOUGHTS)
    refusal = message.get("refusal")
    if not refusal and isinstance(content, list):
        refusal = _parts(content, "refusal")
    return GeneratedSample(
        text,
        finish,
        None,
        logprobs=_logprobs(choice.get("logprobs")),
        reasoning=_words(reasoning),
        refusal=_words(refusal),
        tool_calls=_as_json(message.get("tool_calls") or message.get("function_call")),
    )


def tokens_of(usage: Any, name: str) -> int | None:
    """Return a number of tokens: a whole one, or a text of one; of anything else None."""
    value = usage.get(name) if isinstance(usage, Mapping) else None
    if isinstance(value, str) and value.strip().isdecimal() and value.isascii():
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    fits = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53
    return value if fits else None


def in_order(choices: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return choices by their index; as they came, if these are no numbers of their own."""
    places = [choice.get("index") for choice in choices]
    if all(type(place) is int for place in places) and len(set(places)) == len(places):
        return sorted(choices, key=lambda choice: int(choice["index"]))
    return choices


def said_in(error: Any) -> str:
    """Return an error object's words, to be put behind a sentence; of none nothing."""
    if not error:
        return ""
    words = error.get("message") if isinstance(error, Mapping) else error
    said = words if words is not None else error
    return f": {(said if isinstance(said, str) else json.dumps(said))[:LONGEST_WORDS]}"


def _words(value: Any) -> str | None:
    if isinstance(value, str):
        return _storable(value) if value.strip() else None
    return _as_json(value)


def _as_json(value: Any) -> str | None:
    return _storable(json.dumps(value, ensure_ascii=False, separators=(",", ":"))) if value else None


def _parts(content: Any, *kinds: str) -> str:
    """Return the text of a content's parts of some types; it may itself stand in parts."""
    found = []
    for part in content:
        kind = part.get("type")
        if kind in kinds:
            held = part.get(kind) or part.get("text") or ""
            found.append(held if isinstance(held, str) else _parts(held, "text"))
    return "".join(found)


def _logprobs(given: Any) -> list[TokenLogprob] | None:
    """Read log-probabilities: those of chat completions, or the form that completions had before."""
    try:
        if isinstance(given.get("content"), list):
            return [
                TokenLogprob(
                    None,
                    _token(token["token"]),
                    _finite(token["logprob"]),
                    [
                        (None, _token(other["token"]), _finite(other.get("logprob")))
                        for other in token.get("top_logprobs") or []
                    ],
                )
                for token in given["content"]
            ]
        tops = given.get("top_logprobs") or [None] * len(given["tokens"])
        return [
            TokenLogprob(
                None,
                _token(token),
                _finite(logprob),
                [(None, _token(name), _finite(value)) for name, value in (top or {}).items()],
            )
            for token, logprob, top in zip(given["tokens"], given["token_logprobs"], tops, strict=True)
        ]
    except (TypeError, KeyError, AttributeError, ValueError):
        return None


def _token(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("a token is a text")
    return _storable(value)


def _storable(text: str) -> str:
    """Half of a character, which a token may be, cannot be stored."""
    return text.encode("utf-8", "replace").decode()


def _finite(value: Any) -> float | None:
    """Return a log-probability; None where it is no number, or one that JSON has not, such as minus infinity."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if number and math.isfinite(value) else None
