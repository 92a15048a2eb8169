"""Chat messages on the wire, and as engines take them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any, Literal

from pydantic import Field

from raygen.wire.base import Served, WireModel
from raygen.wire.errors import ApiError
from raygen.wire.facts import facts_of, unsupported

IMAGE_TOKENS = 1024  # that an image is reckoned at, before anything is known of it


class ImageUrl(WireModel):
    url: str = Field(description="a data: URL")
    detail: Literal["auto", "low", "high"] | None = None


class ContentPart(WireModel):
    type: str = Field(description="text or image_url; of an assistant also refusal")
    text: str | None = None
    refusal: str | None = None
    image_url: ImageUrl | None = None


class CalledFunction(WireModel):
    name: str
    arguments: str = Field(description="a JSON object, as text")


class ToolCall(WireModel):
    id: str | None = None
    type: Literal["function"] = "function"
    function: CalledFunction


class Message(WireModel):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | Annotated[list[ContentPart], Field(fail_fast=True)] | None = None
    name: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    tool_calls: Annotated[list[ToolCall], Field(fail_fast=True)] | None = None
    tool_call_id: str | None = None
    function_call: CalledFunction | None = None


def engine_messages(
    messages: list[Message], served: Served, image_hosts: Collection[str] = ()
) -> list[dict[str, Any]]:
    """Return messages as engines take them: a developer's are a system's, parts that are all text are one text.

    Args:
        image_hosts: whose images may be named by https: URLs; all others are data: URLs.

    Raises:
        ApiError: `invalid_value`, a message says nothing; `unsupported_parameter`, the model does not take a part.
    """
    return [
        _taken(message, f"messages.{number}", served, image_hosts) for number, message in enumerate(messages)
    ]


def message_bytes(messages: list[Message]) -> int:
    """Return how long all messages' texts are, in bytes; an image counts as twice its tokens."""
    found = 0
    for message in messages:
        found += 16  # what a chat template puts around one
        for text in (message.content, message.reasoning_content, message.refusal):
            found += len(text.encode()) if isinstance(text, str) else 0
        if isinstance(message.content, list):
            found += sum(
                len((part.text or "").encode()) if part.image_url is None else 2 * IMAGE_TOKENS
                for part in message.content
            )
        for call in message.tool_calls or ():
            found += len(call.function.name.encode()) + len(call.function.arguments.encode())
    return found


def _taken(message: Message, where: str, served: Served, image_hosts: Collection[str]) -> dict[str, Any]:
    content = message.content
    if isinstance(content, list):
        content = _parts(content, where, served, image_hosts)
    elif content is None and not (message.tool_calls or message.function_call):
        if message.role != "assistant" or message.refusal is None:
            raise ApiError(400, "invalid_value", f"{where}: it has no content", f"{where}.content")
        content = message.refusal
    taken: dict[str, Any] = {
        "role": "system" if message.role == "developer" else message.role,
        "content": content,
        "name": message.name,
        "reasoning_content": message.reasoning_content,
        "tool_call_id": message.tool_call_id,
    }
    if message.tool_calls:
        taken["tool_calls"] = [call.model_dump(exclude_none=True) for call in message.tool_calls]
    if message.function_call is not None:
        taken["function_call"] = message.function_call.model_dump()
    return {key: value for key, value in taken.items() if value is not None}


def _parts(parts: list[ContentPart], where: str, served: Served, image_hosts: Collection[str]) -> Any:
    """Return a content's parts as one text, or as a list where one is an image."""
    found: list[dict[str, Any]] = []
    for number, part in enumerate(parts):
        place = f"{where}.content.{number}"
        if part.type in ("text", "refusal"):
            text = part.text if part.type == "text" else part.refusal
            if text is None:
                raise ApiError(
                    400,
                    "missing_required_parameter",
                    f"{place}.{part.type}: it is required",
                    f"{place}.{part.type}",
                )
            found.append({"type": "text", "text": text})
        elif part.type == "image_url":
            found.append(_image(part, place, served, image_hosts))
        else:
            raise unsupported(served, place, f"takes no part of type {part.type[:80]!r}")
    if all(part["type"] == "text" for part in found):
        return "".join(part["text"] for part in found)
    return found


def _image(part: ContentPart, place: str, served: Served, image_hosts: Collection[str]) -> dict[str, Any]:
    if "image" not in facts_of(served).inputs:
        raise unsupported(served, place, "takes text only")
    if part.image_url is None:
        raise ApiError(
            400, "missing_required_parameter", f"{place}.image_url: it is required", f"{place}.image_url"
        )
    url = part.image_url.url
    host = url[8:].partition("/")[0].lower() if url[:8].lower() == "https://" else None
    if url[:11].lower() != "data:image/" and host not in image_hosts:
        allowed = f", or an https: URL of {', '.join(sorted(image_hosts))}" if image_hosts else ""
        raise ApiError(
            400,
            "invalid_value",
            f"{place}.image_url.url: a data: URL of an image{allowed}; images elsewhere are not fetched",
            f"{place}.image_url.url",
        )
    return {"type": "image_url", "image_url": part.image_url.model_dump(exclude_none=True)}
