"""Finish: how a text ended, in this project's words, whatever word the server has for it."""

from __future__ import annotations

STOP, LENGTH, FILTERED, CALLED, UNTOLD = "stop", "length", "content_filter", "tool_calls", "unknown"

# What servers say of a text that is whole, or of which all is there that there will ever be. In small letters. Anything
# else (`error`, `abort`, `network_error`, `insufficient_system_resource`, or a word that nobody knows) is a fault: what
# came before it is a fragment, and no answer.
WORDS = {
    # It ended by itself, or at a stop: OpenAI and most others; TGI, watsonx; Together; Anthropic, Bedrock; AI21; Cohere.
    **dict.fromkeys(("stop", "eos_token", "stop_sequence", "eos", "end_turn", "endoftext", "complete"), STOP),
    # It was cut off: OpenAI; Anthropic, Gemini, Cohere; Mistral; where the context, not the job, was the limit.
    **dict.fromkeys(("length", "max_tokens", "model_length", "model_context_window_exceeded"), LENGTH),
    **dict.fromkeys(("tool_calls", "function_call", "tool_use"), CALLED),
    # OpenAI, Azure, DeepSeek; Gemini; Zhipu; Bedrock; Anthropic's classifiers.
    **dict.fromkeys(
        ("content_filter", "content_filtered", "safety", "recitation", "prohibited_content", "blocklist",
         "sensitive", "guardrail_intervened", "refusal"), FILTERED,
    ),
    # Nothing is said. Old TGI, LocalAI and KoboldCpp leave it null in answers that are whole. A stream is another matter:
    # one that ends without a word was cut off, and whoever reads it has to say so.
    **dict.fromkeys(("", "null", "none", "unknown"), UNTOLD),
}  # fmt: skip


def finish_of(word: object) -> str | None:
    """Return how a whole answer's text ended: stop, length, content_filter, tool_calls, or unknown (null was given).

    None: the text is a fragment, of a word that says so or that nobody knows.
    """
    return UNTOLD if word is None else WORDS.get(str(word).strip().lower())
