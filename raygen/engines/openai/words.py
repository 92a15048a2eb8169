"""What endpoints say in prose alone: that a prompt is too long, and which of the job's options they do not take.

Programs should never go by prose. But these servers give a prompt beyond their context the same code as any other bad
request; so these words are looked at, and only in a refusal of one request (HTTP 400, 413, 422).
"""

from __future__ import annotations

import re
from collections.abc import Collection

TOO_LONG = re.compile(
    "|".join(
        [
            # OpenAI, vLLM ("This model's maximum context length is 4096 tokens. However, you requested 5000"),
            # OpenRouter ("This endpoint's ..."), LiteLLM, DeepSeek
            r"maximum context length (is|of) [\d,]+",
            # vLLM since 2025 ("the model's context length is only 4096 tokens")
            r"context length is only [\d,]+",
            # vLLM ("The decoder prompt (length 5000) is longer than the maximum model length of 4096")
            r"longer than the maximum model length",
            r"max_tokens must be at least 1, got -",  # vLLM of old: nothing is left for an answer
            # Text Generation Inference, Together
            r"`inputs` tokens \+ `max_new_tokens` must be <=",
            r"`inputs` must have less than [\d,]+ tokens",
            # SGLang ("Input length (5000 tokens) exceeds the maximum allowed length (4095 tokens)")
            r"exceeds the maximum allowed (input )?length (of |\()[\d,]+ tokens",
            # SGLang ("The input (5000 tokens) is longer than the model's context length (4096 tokens)",
            # "Requested token count exceeds the model's maximum context length of 4096 tokens"), Together
            r"(longer than|exceeds?) (the )?model's (maximum )?(context|allowed input) length",
            r"greater than the context length",  # LM Studio
            r"exceeds? the available context size",  # llama.cpp
            r"exceed(s|ed)?( the| max)* context (window|length|limit)",  # OpenAI responses, Ollama, llama-cpp-python
            r"context window exceeds limit",  # MiniMax
            r"too large for model with [\d,]+ maximum context length",  # Mistral
            r"input token count( \([\d,]+\))? exceeds the maximum number of tokens",  # Gemini
            r"prompt is too long: [\d,]+ tokens",  # Anthropic
            r"input is too long for requested model",  # Bedrock
            r"maximum prompt length is [\d,]+",  # xAI
            r"exceeded model token limit",  # Kimi
            r"reduce the length of the (messages|prompt|input)",  # OpenAI, vLLM, Groq
            r"range of input length should be",  # Qwen (DashScope)
        ]
    ),
    re.IGNORECASE,
)
_NOT_TAKEN = r"(unsupported|not support|unknown|unrecogni[sz]ed|unexpected|extra|not permitted|not allowed)"
# Fields of a request, when a refusal that names one is about the field itself, and what to do then.
_SAYS = {
    "n": (r"""['"`]n['"`]|\bn ?(=|<|>|:|must|should|is |has )|parameter:? n\b""", "one_request_per_sample: true"),
    "seed": (r"\bseed\b", "send_seed: false"),
    "max_tokens": (rf"max_completion_tokens|\bmax_tokens\b.*{_NOT_TAKEN}|{_NOT_TAKEN}.*\bmax_tokens\b",
        "max_tokens_field: max_completion_tokens",
    ),
    "max_completion_tokens": (rf"{_NOT_TAKEN}.*max_completion_tokens|max_completion_tokens.*{_NOT_TAKEN}",
        "max_tokens_field: max_tokens",
    ),
    "stream_options": (r"stream_options", "extra_body: {stream_options: null}"),
}  # fmt: skip
_STREAM_ONLY = re.compile(
    r"""(only|must|require|enable|need|set)\b.*\bstream(ing)?\b|\bstream\b['"`]? (must|should|has to)""",
    re.IGNORECASE,
)
_CONSTRAINT = re.compile(r"response_format|json_schema|structured_outputs|guided_", re.IGNORECASE)
_SAMPLING = (
    *(
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "presence_penalty",
        "frequency_penalty",
        "repetition_penalty",
    ),
    *("min_tokens", "stop_token_ids", "stop", "logit_bias", "top_logprobs", "logprobs"),
)


def is_too_long(message: str) -> bool:
    """Say whether a refused request's message means that the prompt, or it and its answer, do not fit the model."""
    return TOO_LONG.search(message) is not None


def option_hint(message: str, sent: Collection[str]) -> str | None:
    """Return what in the job may be changed when an endpoint refuses a request in these words; None: nothing is known.

    Args:
        message: the endpoint's own.
        sent: names of the fields of the request's body.
    """
    for field, (words, option) in _SAYS.items():
        if field in sent and re.search(words, message, re.IGNORECASE):
            return f"if the endpoint does not take `{field}`, say options.{option}"
    if "stream" not in sent and _STREAM_ONLY.search(message):
        return "if the endpoint only streams, say options.stream: true"
    if _CONSTRAINT.search(message) and {"response_format", "structured_outputs"} & set(sent):
        return "the job's `constraint` is sent as this; the endpoint may not be able to keep to it"
    for field in _SAMPLING:
        if field in sent and re.search(rf"(?<![\w.]){field}(?!\w)", message):
            what = "sampling.logprobs" if "logprobs" in field else f"sampling.{field}"
            return f"`{field}` is what the job says under {what}"
    return None
