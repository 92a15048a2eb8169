"""The chat completions protocol on the wire: a request's body, and what an answer means. No I/O.

Source:
    https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

import orjson

from raygen.engines.openai.breaker import Why
from raygen.engines.openai.chat_answer import Fragment, in_order, read_choice, said_in, tokens_of
from raygen.engines.openai.messages import endpoint_messages
from raygen.engines.openai.words import is_too_long
from raygen.engines.requests import GeneratedSample, GenerateRequest
from raygen.errors import RowError
from raygen.json_text import write_json

if TYPE_CHECKING:
    from raygen.config.constraint import Constraint

# Error codes and types that servers give a prompt beyond their context: OpenAI, llama.cpp.
TOO_LONG = {"context_length_exceeded", "exceed_context_size_error"}
# Sampling that is sent under its own name. The last five are not OpenAI's; vLLM, SGLang and llama.cpp take them.
FIELDS = (
    *("top_p", "stop", "presence_penalty", "frequency_penalty"),
    *("top_k", "min_p", "repetition_penalty", "min_tokens", "stop_token_ids"),
)
# What servers say when an account has nothing left to spend, with 400, 402, 403 or 429: no waiting cures it.
SPENT = {
    "insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "insufficient_user_quota",
}  # fmt: skip
RETRIED = {408, 409, 425}
# What the request itself is to blame for, whatever others get: too large, for legal reasons.
OF_THE_ROW = {414, 431, 451}
OVERLOADED = {503, 529}
LONGEST_MESSAGE = 4096  # characters kept of an endpoint's message before it is cleaned and cut


class Action(Enum):
    RETRY = "retry"  # ask again: the fault may pass
    UNSENT = "unsent"  # the request did not get there: ask again, and do not count it against the request
    REFUSED = "refused"  # not now: ask again, and do not count it against the request
    ROW = "row"  # this request will never succeed
    DENIED = "denied"  # this request will never succeed, or none will: that others are answered tells which
    ENGINE = "engine"  # no request will succeed


@dataclass(frozen=True, slots=True)
class Trouble:
    """An answer that holds no samples."""

    action: Action
    code: str  # of the RowError that it becomes once it is not retried
    message: str  # the endpoint's own, on one line; may still hold secrets
    overload: bool = False  # a sign that fewer requests should be in flight
    why: int = Why.UNKNOWN  # or the HTTP status
    asked_s: float | None = None  # the silence that its Retry-After asks for

    @property
    def says_all(self) -> bool:
        """Does its message say what is wrong and what to do?"""
        return self.code in ("unreachable", "redirected")


@dataclass(frozen=True, slots=True)
class Answer:
    samples: list[GeneratedSample]  # 1 to the wanted number, in the order of their index
    prompt_tokens: int | None  # None: it does not say
    has_usage: bool

    @property
    def without_logprobs(self) -> int:
        """How many samples lack log-probabilities, of some of their tokens or of all."""
        given = [sample.logprobs for sample in self.samples]
        return sum(each is None or any(token.logprob is None for token in each) for each in given)


def request_body(
    model: str,
    request: GenerateRequest,
    *,
    samples: int,
    seed: int | None,
    max_tokens_field: str,
    extra: Mapping[str, Any],
) -> bytes:
    """Return the JSON body that asks for so many samples of a request. A field at its default is left out.

    Raises RowError `bad_request`: the messages hold what JSON cannot, such as bytes or half a surrogate pair.
    """
    if request.token_mask is not None:
        raise RowError("engine_unsupported", "engine `openai` takes no token mask")
    sampling = request.sampling
    body: dict[str, Any] = {
        "model": model,
        "messages": endpoint_messages(request.messages),
        "temperature": sampling.temperature,
        max_tokens_field: sampling.max_tokens,
    }
    default = type(sampling)()
    body |= {name: value for name in FIELDS if (value := getattr(sampling, name)) != getattr(default, name)}
    if sampling.logit_bias:
        body["logit_bias"] = {str(token): bias for token, bias in sampling.logit_bias.items()}
    if sampling.logprobs is not None:
        body |= {"logprobs": True, "top_logprobs": sampling.logprobs}
    if samples != 1:
        body["n"] = samples
    if seed is not None:
        body["seed"] = seed
    if request.tools:
        body["tools"] = request.tools
    if request.constraint is not None:
        body |= _constraint_fields(request.constraint)
    if extra:
        body.update(extra)
    try:
        return write_json(body)
    except TypeError as error:
        raise RowError(
            "bad_request",
            f"the messages cannot be sent as JSON: {error}",
            public="the messages cannot be sent as JSON",
        ) from None


def _constraint_fields(constraint: Constraint) -> dict[str, Any]:
    """Return a JSON schema as OpenAI has it; anything else as vLLM's servers do."""
    if constraint.kind != "json_schema":
        return {"structured_outputs": {constraint.kind: constraint.value}}
    # Not strict, it would be a wish only; strict, the endpoint refuses a schema that it cannot keep to.
    schema = {"name": "answer", "strict": True, "schema": constraint.value}
    return {"response_format": {"type": "json_schema", "json_schema": schema}}


def read_answer(status: int, raw: bytes, wanted: int, asked_s: float | None) -> Answer | Trouble:
    """Say what an HTTP answer means: at most `wanted` samples, or what is wrong and what to do about it.

    `asked_s` is its Retry-After: a 503 with one is a refusal, one without may be an endpoint that is down.
    """
    if status == 200:
        try:
            return read_completion(parsed(raw), wanted)
        except (ValueError, TypeError, KeyError, AttributeError):
            return Trouble(Action.RETRY, "bad_answer", f"no chat completion: {endpoint_message(raw)}")
    message = f"HTTP {status}: {endpoint_message(raw)}"
    if status == 402 or (status in (400, 403, 429) and not SPENT.isdisjoint(_error_words(raw))):
        return Trouble(Action.ENGINE, "insufficient_quota", message)
    if status == 429:
        return Trouble(Action.REFUSED, "endpoint_unavailable", message, overload=True)
    if status in OVERLOADED:
        action = Action.RETRY if asked_s is None else Action.REFUSED
        return Trouble(action, "endpoint_unavailable", message, overload=True)
    if status in RETRIED or status >= 500:
        return Trouble(Action.RETRY, "endpoint_unavailable", message)
    if status in (401, 403):
        return Trouble(Action.DENIED, "blocked", message)
    if status in (400, 413, 422):
        if not TOO_LONG.isdisjoint(_error_words(raw)) or is_too_long(message):
            return Trouble(Action.ROW, "prompt_too_long", message)
        return Trouble(Action.ROW, "endpoint_4xx" if status == 413 else "bad_request", message)
    action = Action.ROW if status in OF_THE_ROW else Action.DENIED
    return Trouble(action, "endpoint_4xx", message)


def read_completion(body: Any, wanted: int) -> Answer | Trouble:
    """Say what a chat completion, as parsed JSON, means: at most `wanted` samples, without those that broke off.

    Raises ValueError, TypeError, KeyError, AttributeError: it is none.
    """
    choices = in_order(body["choices"])[:wanted]
    if not choices:
        raise ValueError("no choices")
    samples: list[GeneratedSample] = []
    broken = f"an error stands beside its choices{said_in(body['error'])}" if body.get("error") else None
    for choice in choices if broken is None else ():
        try:
            samples.append(read_choice(choice))
        except Fragment as error:
            broken = str(error)
        except (ValueError, TypeError, KeyError, AttributeError):
            continue  # one that cannot be read does not cost the others
    if broken is not None and not samples:
        return Trouble(Action.RETRY, "bad_answer", " ".join(broken[:LONGEST_MESSAGE].split()))
    if not samples:
        raise ValueError("no choice can be read")
    usage = body.get("usage")
    prompt_tokens, output_tokens = tokens_of(usage, "prompt_tokens"), tokens_of(usage, "completion_tokens")
    if output_tokens is not None:
        # The protocol gives the tokens of all choices together: an even share each, the remainder to the first.
        share, remainder = divmod(output_tokens, len(choices))
        for sample in samples:
            sample.output_tokens = share
        samples[0].output_tokens = share + remainder
    return Answer(samples, prompt_tokens, prompt_tokens is not None and output_tokens is not None)


def parsed(raw: bytes) -> Any:
    """Parse JSON; also what many servers write of a log-probability, which is none: NaN, Infinity. Raises ValueError."""
    try:
        return orjson.loads(raw)
    except ValueError:
        try:
            return json.loads(raw)
        except RecursionError:
            raise ValueError("nested too deeply") from None


def _error_of(raw: bytes) -> Any:
    try:
        body = orjson.loads(raw)
    except ValueError:
        return None
    return (body.get("error") or body) if isinstance(body, dict) else None


def _error_words(raw: bytes) -> set[str]:
    """Return the machine-readable words of an error body: its code and its type."""
    error = _error_of(raw)
    if not isinstance(error, dict):
        return set()
    return {word for word in (error.get("code"), error.get("type")) if isinstance(word, str)}


def endpoint_message(raw: bytes) -> str:
    """Return an error body's message on one line: OpenAI's form, `message`, `detail`, or the text itself."""
    error = _error_of(raw)
    if isinstance(error, dict):
        error = error.get("message") or error.get("detail")
    if error is None:
        error = raw[:LONGEST_MESSAGE].decode("utf-8", "replace")
    return " ".join(str(error)[:LONGEST_MESSAGE].split()) or "(an empty body)"
