"""An answer that comes in pieces (server-sent events), put together as the whole that it would have been. No I/O.

Source:
    https://html.spec.whatwg.org/multipage/server-sent-events.html,
    https://platform.openai.com/docs/api-reference/chat-streaming
"""

from __future__ import annotations

import json
from typing import Any

import orjson

from raygen.engines.openai.chat_completions import Action, Trouble, endpoint_message, parsed

STREAM_FIELDS: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}


def is_event_stream(raw: bytes) -> bool:
    """Say whether a body that nobody asked to be streamed is one all the same."""
    return raw.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"data:", b"event:", b"id:", b"retry:", b":"))


class EventStream:
    """Takes bytes as they come, cut anywhere. Memory: one event, and what the answer holds.

    Attributes:
        done: nothing more is to be read: the stream said so, or holds an error, or what cannot be read.
        pieces: events that held a part of the answer.
    """

    def __init__(self) -> None:
        self.done = False
        self.pieces = 0
        self._error: bytes | None = None
        self._broken: bytes | None = None
        self._rest = b""
        self._event = ""
        self._data: list[bytes] = []
        self._whole: dict[str, Any] = {}
        self._choices: dict[int, dict[str, Any]] = {}

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._take_line(line.removesuffix(b"\r"))

    def answer(self) -> tuple[int, bytes] | Trouble:
        """Return the status and the body that the answer would have had in one piece; nothing more comes.

        An error in the place of a piece has the status that it says, if it says one. A stream that broke off is no
        answer: Trouble.
        """
        self._take_line(self._rest.removesuffix(b"\r"))  # the last line may not be ended
        self._take_line(b"")
        if self._broken is not None:
            return Trouble(
                Action.RETRY, "bad_answer", f"no chat completion: {endpoint_message(self._broken)}"
            )
        if self._error is not None:
            return _status_of(self._error), self._error
        choices = [self._choices[index] for index in sorted(self._choices)]
        # [DONE] alone proves nothing: gateways say it when what is behind them has died.
        if not choices or not all(choice["finish_reason"] for choice in choices):
            message = f"the stream ended before the answer did: no finish_reason after {self.pieces} pieces"
            return Trouble(Action.RETRY, "bad_answer", message)
        body = self._whole | {"object": "chat.completion", "choices": choices}
        try:
            return 200, orjson.dumps(body)
        except TypeError:  # halves of characters: where they came in two pieces, escapes make a whole of them
            return 200, json.dumps(body).encode()

    def _take_line(self, line: bytes) -> None:
        if self.done:
            return
        if not line:
            if self._data:
                self._take_event(b"\n".join(self._data))
            self._data, self._event = [], ""
            return
        field, _, value = line.partition(b":")  # a comment has no field's name before its colon
        value = value.removeprefix(b" ")
        if field.removeprefix(b"\xef\xbb\xbf") == b"data":
            self._data.append(value)
        elif field == b"event":
            self._event = value.decode("utf-8", "replace").strip()

    def _take_event(self, data: bytes) -> None:
        if data.strip() == b"[DONE]":
            self.done = True
            return
        try:
            piece = parsed(data)
            if piece.get("error") or self._event == "error":
                self.done, self._error = True, data
                return
            choices = piece.pop("choices", None) or []
            self._whole |= {name: value for name, value in piece.items() if value is not None}
            for number, choice in enumerate(choices):
                self._take_choice(number, choice)
        except (ValueError, TypeError, AttributeError):
            self.done, self._broken = True, data
            return
        self.pieces += bool(choices)

    def _take_choice(self, number: int, choice: dict[str, Any]) -> None:
        index = choice.get("index")
        if not isinstance(index, int):
            index = number
        whole = self._choices.setdefault(index, {"index": index, "message": {}, "finish_reason": None})
        for name, value in choice.items():
            if value is None or name == "index":
                continue
            if name in ("delta", "message"):  # some send the whole message as the only piece
                _merge(whole["message"], value)
            elif name == "logprobs":
                _merge(whole.setdefault("logprobs", {}), value)
            else:
                whole[name] = value


def _merge(whole: dict[str, Any], piece: dict[str, Any]) -> None:
    """Add a piece's texts to those that are there; what is no text is replaced, a list goes on."""
    for name, value in piece.items():
        if value is None:
            continue
        there = whole.get(name)
        if name == "tool_calls":
            _merge_calls(whole.setdefault(name, []), value)
        elif isinstance(value, str) and isinstance(there, str) and name not in ("role", "id", "type", "name"):
            whole[name] = there + value
        elif isinstance(value, list) and isinstance(there, list):
            there.extend(value)
        elif isinstance(value, list) and isinstance(there, str):  # content: text first, then parts
            whole[name] = [{"type": "text", "text": there}, *value]
        elif isinstance(value, str) and isinstance(there, list):
            there.append({"type": "text", "text": value})
        elif isinstance(value, dict) and isinstance(there, dict):
            _merge(there, value)
        else:
            whole[name] = (
                list(value) if isinstance(value, list) else dict(value) if isinstance(value, dict) else value
            )


def _merge_calls(calls: list[dict[str, Any]], pieces: list[dict[str, Any]]) -> None:
    """Add pieces of tool calls, each to the call of its index; one with another id, or none, begins a call."""
    for piece in pieces:
        index, name = piece.get("index"), piece.get("id")
        there = [call for call in calls if index is not None and call.get("index") == index]
        if not there or (name and there[-1].get("id") and there[-1]["id"] != name):
            there = [{}]
            calls += there
        _merge(there[-1], piece)


def _status_of(error: bytes) -> int:
    """Return the HTTP status that an error within a stream says; 200: it says none."""
    body = parsed(error)
    fault = body.get("error") or body
    for name in ("code", "status", "status_code"):
        code = fault.get(name) if isinstance(fault, dict) else None
        if isinstance(code, int | str) and str(code).isdecimal() and 400 <= int(code) < 600:
            return int(code)
    return 200
