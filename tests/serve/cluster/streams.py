"""Streams as a client reads them, to whatever end."""

from __future__ import annotations

import json
from dataclasses import dataclass

import httpx

from tests.serve.on_ray import OnRay


@dataclass
class Said:
    """A stream as it was read: its words, and how it ended."""

    text: str = ""
    end: str = "cut"  # or done, or an error's code


def listen(
    service: OnRay, seed: int, model: str = "talker", said: Said | None = None, **more: object
) -> Said:
    """Read a stream, to whatever end; what was heard so far stands in `said`."""
    said = said or Said()
    body = {
        "model": model,
        "messages": [{"role": "user", "content": "talk"}],
        "stream": True,
        "seed": seed,
        **more,
    }
    try:
        with httpx.stream("POST", f"{service.url}/v1/chat/completions", json=body, timeout=120) as answer:
            if answer.status_code != 200:
                said.end = json.loads(answer.read())["error"]["code"]
                return said
            for line in answer.iter_lines():
                if not line.startswith("data: "):  # a blank, or a comment that keeps the connection open
                    continue
                told = line.removeprefix("data: ")
                if told == "[DONE]":
                    said.end = "done"
                    continue
                event = json.loads(told)
                if "error" in event:
                    said.end = event["error"]["code"]
                elif event["choices"]:
                    said.text += event["choices"][0]["delta"].get("content") or ""
    except httpx.HTTPError:
        pass
    return said
