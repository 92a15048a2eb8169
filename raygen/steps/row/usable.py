"""Usable: is what a model said an answer at all, whatever was asked?"""

from __future__ import annotations

from raygen.engines.finish import CALLED, FILTERED, LENGTH
from raygen.engines.requests import GeneratedSample, MediaSample
from raygen.steps.tools.excerpt import excerpt

QUOTED = 500  # characters of a refusal in a finding


def fault_of(sample: GeneratedSample, may_call: bool = False) -> tuple[str, str] | None:
    """Say why a sample is no answer: the reason that programs match on, and a line for people. None: it is one.

    Args:
        may_call: was the model told of tools, so that calling one is an answer?
    """
    if sample.finish_reason == FILTERED:
        left = "what came before is a part of a text" if sample.text.strip() else "there is no text"
        return "content_filter", f"a content filter ended it; {left}"
    if sample.refusal is not None:
        return "refused", f"the model refuses: {excerpt(sample.refusal, QUOTED)}"
    if sample.text.strip():
        return None
    if may_call and sample.tool_calls and sample.finish_reason != LENGTH:
        return None
    if sample.tool_calls is not None and sample.finish_reason == LENGTH:
        return "tool_calls", "the call of a tool may have been cut off at max_tokens"
    if sample.tool_calls is not None or sample.finish_reason == CALLED:
        return "tool_calls", "the model calls a tool instead of writing a text"
    if sample.reasoning is not None:
        if sample.finish_reason != LENGTH:
            return "only_reasoning", "there is reasoning and no text after it"
        spent = f" ({sample.output_tokens:,} tokens)" if sample.output_tokens is not None else ""
        return (
            "only_reasoning",
            f"max_tokens{spent} went into reasoning, and no text came after it: give it more max_tokens",
        )
    return "empty_output", "there is no text"


def media_fault_of(sample: MediaSample) -> tuple[str, str] | None:
    """Say why a medium is no answer: the reason that programs match on, and a line for people. None: it is one."""
    if sample.finish_reason == FILTERED:
        return "content_filter", "a content filter ended it"
    return None if sample.media else ("empty_output", "there is no picture, sound or video")
