"""Chat body: what a chat completion asks for, and the request of an engine that it becomes."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any

from pydantic import Field

from raygen.config.constraint import Constraint
from raygen.engines.requests import GenerateRequest
from raygen.wire.base import Asked, Served
from raygen.wire.errors import ApiError
from raygen.wire.facts import unsupported
from raygen.wire.text.asking import row_id_of
from raygen.wire.text.body import TextBody, seeds
from raygen.wire.text.constraints import Form, check_form, form_of
from raygen.wire.text.messages import Message, engine_messages
from raygen.wire.text.tools import MOST_TOOLS, Choice, Tool, call_form, engine_tools

# An answer's most tokens where a body names none; the context may hold fewer.
MOST_TOKENS = 4096
# Keys that would need what no model here has.
REFUSED = ("audio", "functions", "function_call", "web_search_options", "moderation")


class ChatBody(TextBody):
    """A chat, and how the next message is to be written."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=4096, fail_fast=True)]
    max_completion_tokens: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        None, description=f"what an answer may have at most, reasoning included; {MOST_TOKENS} if unset"
    )
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    tools: Annotated[list[Tool], Field(max_length=MOST_TOOLS, fail_fast=True)] | None = None
    tool_choice: Choice | None = None
    parallel_tool_calls: bool | None = Field(None, description="false: one call at most")
    modalities: Annotated[list[str], Field(fail_fast=True)] | None = None
    audio: dict[str, Any] | None = None
    functions: list[Any] | None = None
    function_call: str | dict[str, Any] | None = None
    web_search_options: dict[str, Any] | None = None
    moderation: dict[str, Any] | None = None

    @property
    def most_tokens(self) -> int:
        """What an answer may have at most. Raises ApiError `invalid_value`."""
        old, new = self.max_tokens, self.max_completion_tokens
        if old == 0 or (old is not None and new is not None and old != new):
            fault = "1 or more" if old == 0 else "not beside another max_completion_tokens"
            raise ApiError(400, "invalid_value", f"max_tokens: {fault}", "max_tokens")
        return new or old or MOST_TOKENS

    @property
    def most_logprobs(self) -> int | None:
        """How many tokens are told beside each; None: no log-probabilities. Raises ApiError `invalid_value`."""
        if self.logprobs:
            return self.top_logprobs or 0
        if self.top_logprobs:
            raise ApiError(400, "invalid_value", "top_logprobs: only beside `logprobs: true`", "top_logprobs")
        return None


def chat_form(body: ChatBody, served: Served) -> Form | None:
    """Return what an answer has to be; None: anything. Raises ApiError."""
    form, call = form_of(body), call_form(body.tools or [], body.tool_choice)
    if form is not None and call is not None:
        raise ApiError(
            400,
            "invalid_value",
            "tool_choice: a call has a form of its own; none is to be given beside it",
            "tool_choice",
        )
    check_form(call or form, served)
    return call or form


def chat_request(
    body: ChatBody,
    served: Served,
    asked: Asked,
    constraint: Constraint | None = None,
    image_hosts: Collection[str] = (),
) -> GenerateRequest:
    """Return what an engine is asked for. Raises ApiError."""
    for name in REFUSED:
        if getattr(body, name) is not None:
            raise unsupported(served, name, "does not take it")
    if body.modalities is not None and body.modalities != ["text"]:
        raise unsupported(served, "modalities", "answers with text alone")
    body.check_stream_options()
    return GenerateRequest(
        row_id_of(body, asked),
        engine_messages(body.messages, served, image_hosts),
        body.sampling(body.most_tokens, body.most_logprobs),
        seeds(asked.seed if body.seed is None else body.seed, body.samples),
        adapter=served.adapter,
        constraint=constraint,
        tools=engine_tools(body.tools, body.tool_choice, served) or None,
        priority=asked.priority,
    )
