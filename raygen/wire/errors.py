"""API errors: what a client is told when something is wrong. Every refusal is one; no other text leaves.

OpenAI's form: `{"error": {"message", "type", "param", "code"}}` beside an HTTP status. Clients match on status, type and code.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raygen.errors import EngineError, RowError, UnavailableError

# Types, by status.
TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
    500: "server_error",
    501: "server_error",
    503: "server_error",
}

# Codes of rows that engines raise -> status and the word for it. All others are the server's own fault: 500, in their own word.
ROW_CODES: Mapping[str, tuple[int, str]] = {
    "program_rejected": (422, "program_rejected"),
    # Longer than the model can read.
    "prompt_too_long": (400, "context_length_exceeded"),
    "text_too_long": (400, "context_length_exceeded"),
    # Asked for what this model does not do, or has not.
    "engine_unsupported": (400, "unsupported_parameter"),
    "unknown_adapter": (404, "model_not_found"),
    "too_many_adapters": (409, "too_many_adapters"),
    "adapter_taken": (409, "adapter_taken"),
    "adapter_exists": (409, "adapter_exists"),
    # What was sent cannot be read by this model, or says nothing.
    **dict.fromkeys(
        (
            *(
                "empty_prompt",
                "empty_text",
                "invalid_messages",
                "invalid_text",
                "invalid_prompt",
                "bad_messages",
            ),
            *(
                "bad_tools",
                "invalid_sampling",
                "invalid_constraint",
                "corrupt_media",
                "media_too_large",
                "bad_request",
            ),
        ),
        (400, "invalid_value"),
    ),
    # The text came to where the constraint, or a bias, allows nothing.
    "constraint_failed": (400, "constraint_failed"),
    "mask_forbids_all": (400, "constraint_failed"),
    # What an endpoint behind a model says of this request, and of no other.
    "blocked": (400, "content_filter"),
    "content_filter": (400, "content_filter"),
    "endpoint_4xx": (400, "invalid_value"),
    # It does not answer; raygen has asked again for a while.
    **dict.fromkeys(("endpoint_unavailable", "unreachable", "timeout"), (503, "endpoint_unavailable")),
}


class ApiError(Exception):
    """A refusal or a failure, in words for the client.

    Args:
        status: of HTTP.
        code: a stable word that programs match on.
        message: for the person who reads it: what was given, what is allowed. Never a library's exception text.
        param: the key of the body that is wrong: `messages.0.role`.
        headers: such as `Retry-After`.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.param = status, code, message, param
        self.headers = dict(headers or {})

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        return (ApiError, (self.status, self.code, self.message, self.param, self.headers))

    def body(self, request_id: str | None = None) -> dict[str, Any]:
        """Return the JSON body."""
        error = {
            "message": self.message,
            "type": TYPES.get(self.status, "invalid_request_error" if self.status < 500 else "server_error"),
            "param": self.param,
            "code": self.code,
        }
        return {"error": error if request_id is None else {**error, "request_id": request_id}}


def api_error(error: BaseException) -> ApiError:
    """Return what a client is told of an error. What nobody expected is `internal_error`: its text stays in the log."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, RowError):
        status, code = ROW_CODES.get(error.code, (500, error.code))
        if status < 500:  # worded for whoever wrote the row; other failures may quote a library
            return ApiError(status, code, error.public or error.message)
        headers = retry_after(5) if status == 503 else None
        return ApiError(status, code, "the model failed to answer this request", headers=headers)
    if isinstance(error, UnavailableError):
        status = 429 if error.code == "model_busy" else 503
        return ApiError(status, error.code, error.message, headers=retry_after(error.retry_after_s))
    if isinstance(error, EngineError):
        return ApiError(503, error.code, error.public, headers=retry_after(5))
    return ApiError(500, "internal_error", "an error inside the server; its log names it by the request id")


def retry_after(seconds: float) -> dict[str, str]:
    """Return the headers that tell a client when to ask again: whole seconds, and OpenAI's milliseconds."""
    seconds = min(max(seconds, 0.001), 60.0)
    return {"retry-after": str(max(1, round(seconds))), "retry-after-ms": str(round(seconds * 1000))}
