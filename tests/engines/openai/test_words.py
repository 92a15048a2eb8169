"""What endpoints say in prose alone."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from raygen.config.constraint import Constraint
from raygen.config.sampling import Sampling
from raygen.engines.openai.chat_completions import Trouble, read_answer
from raygen.engines.openai.words import option_hint
from raygen.engines.requests import GenerateRequest
from raygen.errors import RowError
from tests.engines.asked import ask, replies, request

pytestmark = pytest.mark.usefixtures("quick_endpoints")
VLLM = {"object": "error", "type": "BadRequestError", "param": None, "code": 400}


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, {"error": {"code": "context_length_exceeded", "message": "any"}}),
        (400, {"error": {"type": "exceed_context_size_error", "message": "any"}}),
        (
            400,
            VLLM
            | {
                "message": "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens "
                "(4000 in the messages, 1000 in the completion)."
            },
        ),
        (
            400,
            VLLM
            | {
                "message": "The decoder prompt (length 5000) is longer than the maximum model length of 4096. "
                "Make sure that `max_model_len` is no smaller than the number of text tokens."
            },
        ),
        (
            400,
            {
                "error": VLLM
                | {
                    "message": "You passed 5000 input tokens and requested 16 output tokens. However, the model's "
                    "context length is only 4096 tokens."
                }
            },
        ),
        (
            422,
            {
                "error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 4000 "
                "`inputs` tokens and 1000 `max_new_tokens`",
                "error_type": "validation",
            },
        ),
        (422, {"error": "Input validation error: `inputs` must have less than 4095 tokens. Given: 5000"}),
        (
            400,
            {"message": "The input (5000 tokens) is longer than the model's context length (4096 tokens)."},
        ),
        (
            400,
            {"message": "Requested token count exceeds the model's maximum context length of 4096 tokens."},
        ),
        (400, {"message": "Input length (5000 tokens) exceeds the maximum allowed length (4095 tokens)"}),
        (400, VLLM | {"message": "max_tokens must be at least 1, got -186."}),
        (400, {"error": {"message": "the request exceeds the available context size, try increasing it"}}),
        (
            400,
            {
                "error": "The number of tokens to keep from the initial prompt is greater than the context length."
            },
        ),
        (
            400,
            {"message": "Prompt contains 5000 tokens, too large for model with 4096 maximum context length"},
        ),
        (
            400,
            [
                {
                    "error": {
                        "code": 400,
                        "message": "The input token count (5000) exceeds the maximum number of tokens allowed (4096).",
                    }
                }
            ],
        ),
        (413, {"error": {"message": "prompt is too long: 205000 tokens > 200000 maximum"}}),
        (400, {"error": {"message": "Requested tokens (5000) exceed context window of 4096"}}),
        (
            400,
            {
                "error": {
                    "message": "This model's maximum prompt length is 4096 but the request contains 5000"
                }
            },
        ),
    ],
)
def test_a_prompt_too_long_is_known_by_many_servers_words(status: int, body: Any):
    trouble = read_answer(status, orjson.dumps(body), 1, None)
    assert isinstance(trouble, Trouble)
    assert trouble.code == "prompt_too_long"


@pytest.mark.parametrize(
    ("status", "message", "code"),
    [
        (
            400,
            "max_tokens is too large: 9000. This model supports at most 4096 completion tokens",
            "bad_request",
        ),
        (400, "too many requests in context", "bad_request"),
        (400, "messages: text is too long for moderation", "bad_request"),
        (413, "Request Entity Too Large", "endpoint_4xx"),
        (500, "maximum context length is 4096 tokens", "endpoint_unavailable"),
    ],
)
def test_other_faults_keep_their_codes(status: int, message: str, code: str):
    trouble = read_answer(status, orjson.dumps({"error": {"message": message}}), 1, None)
    assert isinstance(trouble, Trouble)
    assert trouble.code == code


SENT = (
    "model",
    "messages",
    "temperature",
    "max_tokens",
    "n",
    "seed",
    "top_k",
    "top_logprobs",
    "response_format",
)


@pytest.mark.parametrize(
    ("message", "option"),
    [
        ("Unsupported parameter: 'n'", "one_request_per_sample: true"),
        ("n must be 1", "one_request_per_sample: true"),
        ("Only n=1 is supported", "one_request_per_sample: true"),
        ("'n' : number must be at most 1", "one_request_per_sample: true"),
        ("[{'type': 'extra_forbidden', 'loc': ['body', 'seed']}]", "send_seed: false"),
        ('Invalid JSON payload received. Unknown name "seed"', "send_seed: false"),
        ("seed: value 4587555164180902 is out of range", "send_seed: false"),
        (
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
            "max_tokens_field: max_completion_tokens",
        ),
        ("Unrecognized request argument supplied: max_tokens", "max_tokens_field: max_completion_tokens"),
        ("'response_format' of type 'json_schema' is not supported with this model", "`constraint`"),
        ("Unsupported value: 'temperature' does not support 0.7 with this model.", "sampling.temperature"),
        ("property 'top_k' is unsupported", "sampling.top_k"),
        ("top_logprobs must be at most 5", "sampling.logprobs"),
        ("This model only supports streaming", "stream: true"),
        ('"stream" must be true', "stream: true"),
    ],
)
def test_a_field_that_is_refused_names_what_the_job_can_say(message: str, option: str):
    hint = option_hint(message, SENT)
    assert hint is not None
    assert option in hint


@pytest.mark.parametrize(
    "message",
    [
        "invalid role: 'wizard'",
        "the content filter was triggered: no violence",
        "max_tokens is too large: 9000. This model supports at most 4096",
        "An upstream error happened",
    ],
)
def test_of_other_refusals_nothing_is_said(message: str):
    assert option_hint(message, SENT) is None


def test_what_was_not_sent_is_not_named():
    assert option_hint("Unsupported parameters: 'n', 'seed', 'top_k'", ("model", "messages")) is None
    assert "max_tokens_field: max_tokens" in str(
        option_hint("Unknown field max_completion_tokens", ("max_completion_tokens",))
    )


def test_the_hint_stands_behind_the_endpoints_words_however_long_they_are():
    row = GenerateRequest("r", [{"role": "user", "content": "Hello"}], Sampling(), [1, 2])
    (error,), _, _ = ask(row, respond=replies(400, {"message": "n must be 1, " + "really " * 200}))
    assert isinstance(error, RowError)
    assert error.message.startswith("HTTP 400: n must be 1, really")
    assert error.message.endswith(
        "…; if the endpoint does not take `n`, say options.one_request_per_sample: true"
    )
    assert len(error.message) == 300


def test_a_constraint_that_is_refused_is_named():
    row = request()
    row.constraint = Constraint(json_schema={"type": "object"})
    (error,), _, _ = ask(row, respond=replies(400, {"message": "response_format is not supported"}))
    assert isinstance(error, RowError)
    assert error.message.endswith(
        "the job's `constraint` is sent as this; the endpoint may not be able to keep to it"
    )
