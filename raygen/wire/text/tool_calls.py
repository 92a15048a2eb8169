"""Tool calls in texts: how models write them, and how they are found while a text comes in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from raygen.config.base import is_unicode
from raygen.engines.reasoning import overlap

# Hermes, Qwen, SmolLM. Models without such words write plain JSON: Llama, Mistral.
OPEN, CLOSE = "<tool_call>", "</tool_call>"


@dataclass(frozen=True, slots=True)
class Call:
    name: str
    arguments: str  # a JSON object, as text
    id: str | None = None  # as an endpoint gave it

    def body(self, answer_id: str, choice: int, number: int) -> dict[str, Any]:
        """Return a call as messages have it."""
        made = hashlib.blake2b(f"{answer_id}:{choice}:{number}".encode(), digest_size=12).hexdigest()
        return {
            "id": self.id or f"call_{made}",
            "type": "function",
            "function": {"name": self.name, "arguments": self.arguments},
        }


class CallFinder:
    """Finds calls in one text that comes in pieces; all else of it is content.

    What could be the beginning of a call is held back. Broken JSON stays content. White space at the end of what is said beside
    calls is dropped.

    Args:
        names: of the tools. Plain JSON is a call only if it names one of them.
    """

    def __init__(self, names: Collection[str]) -> None:
        self._names = names
        self._held, self._space = "", ""
        self._plain: bool | None = None  # may the text as a whole be JSON?
        self._found = False

    def push(self, text: str) -> tuple[str, list[Call]]:
        """Return what is certain by now: content, and calls behind it."""
        self._held += text
        if self._plain is None:
            begun = self._held.lstrip()
            if not begun:
                return "", []
            self._plain = begun[0] in "{["
        if self._plain:
            return "", []
        content, calls = "", list[Call]()
        while (at := self._held.find(OPEN)) >= 0:
            end = self._held.find(CLOSE, at)
            if end < 0:
                content += self._said(self._held[:at])
                self._held = self._held[at:]
                return content, calls
            found = calls_in(self._held[at + len(OPEN) : end])
            behind = end + len(CLOSE)
            content += self._said(self._held[: at if found else behind])
            self._held = self._held[behind:]
            self._found = self._found or bool(found)
            calls += found
        kept = len(self._held) - overlap(self._held, OPEN)
        content += self._said(self._held[:kept])
        self._held = self._held[kept:]
        return content, calls

    def end(self) -> tuple[str, list[Call]]:
        """Return what was held back."""
        text = self._held
        calls = calls_in(text, self._names) if self._plain else calls_in(text.removeprefix(OPEN))
        if not self._plain and not text.startswith(OPEN):
            calls = []
        self._held = ""
        self._found = self._found or bool(calls)
        content = "" if calls else self._said(text)
        return content + ("" if self._found else self._space), calls

    def _said(self, text: str) -> str:
        """Return content up to its last word; the white space behind it waits for the next."""
        text = self._space + text
        said = text.rstrip()
        self._space = text[len(said) :]
        return said


def calls_in(text: str, names: Collection[str] | None = None) -> list[Call]:
    """Return the calls that a text is, one or several objects or lists of them; none: it is something else.

    Args:
        names: that a call may have; None: any.
    """
    found: list[Call] = []
    for value in _values(text):
        for each in value if isinstance(value, list) else [value]:
            call = _call(each)
            if call is None or (names is not None and call.name not in names):
                return []
            found.append(call)
    return found


def told_calls(told: str) -> list[Call]:
    """Return the calls that an endpoint told of, as JSON: `tool_calls`, or the older `function_call`."""
    found = []
    for each in (value if isinstance(value, list) else [value] for value in _values(told)):
        for given in each:
            call = _call(given)
            if call is not None:
                given_id = given.get("id")
                found.append(Call(call.name, call.arguments, given_id if isinstance(given_id, str) else None))
    return found


def _values(text: str) -> list[Any]:
    """Return the JSON values that a text is made of; none: it is not."""
    found, at = [], 0
    while at < len(text):
        if text[at] in " \t\r\n,;":
            at += 1
            continue
        try:
            value, at = _DECODER.raw_decode(text, at)
        except (ValueError, RecursionError):
            return []
        found.append(value)
    return found


def _no_number(text: str) -> Any:
    raise ValueError(text)


_DECODER = json.JSONDecoder(parse_constant=_no_number)


def _call(value: Any) -> Call | None:
    if not isinstance(value, dict):
        return None
    inner = value.get("function", value)
    if not isinstance(inner, dict):
        return None
    name = inner.get("name")
    arguments = inner.get("arguments", inner.get("parameters", {}))
    if isinstance(arguments, dict):
        arguments = _json(arguments)
    if not isinstance(name, str) or not name or not isinstance(arguments, str):
        return None
    return Call(_sound(name), _sound(arguments))


def _json(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if is_unicode(text) else json.dumps(value)


def _sound(text: str) -> str:
    # JSON may spell half of a surrogate pair.
    return text if is_unicode(text) else text.encode("utf-8", "replace").decode()
