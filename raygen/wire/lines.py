"""Lines of batch files: what an outcome of the step `answer` is in a batch's output or error file."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import orjson

from raygen.errors import ReplicaLostError
from raygen.runs.outcome import UNASKED
from raygen.wire.errors import ROW_CODES, ApiError

NOT_ANSWERED = "the request could not be answered"


def answered_line(custom_id: str, name: str, body: dict[str, Any], status: int = 200) -> dict[str, Any]:
    """Return the line of a request that has a response, good or bad.

    Args:
        name: of the request; it makes the ids of the line and of the request.
    """
    return {
        "id": f"batch_req_{name}",
        "custom_id": custom_id,
        "response": {"status_code": status, "request_id": name, "body": body},
        "error": None,
    }


def unasked(status: str) -> tuple[str, str]:
    """Return code and message of requests that were never asked, by how their batch ended: `expired` or `cancelled`."""
    ended = "expired" if status == "expired" else "was cancelled"
    return f"batch_{status}", f"the batch {ended} before this request was asked"


def unasked_line(custom_id: str, name: str, code: str, message: str) -> dict[str, Any]:
    """Return the line of a request that was never asked."""
    return {
        "id": f"batch_req_{name}",
        "custom_id": custom_id,
        "response": None,
        "error": {"code": code, "message": message},
    }


def line_of(outcome: Mapping[str, Any], name: str) -> tuple[bool, dict[str, Any]]:
    """Return whether an outcome was answered with success, and its line.

    Args:
        outcome: with row_id, status, reason, error, samples and discarded, as outcomes hold them; media within the samples.

    Raises:
        KeyError, ValueError: the outcome is another step's.
    """
    custom_id = outcome["row_id"]
    if outcome["status"] == "accepted":
        return True, answered_line(custom_id, name, _answer_in(outcome["samples"][0]))
    for sample in outcome["discarded"] or ():
        if sample["text"] is not None and str(sample["call"]).startswith("answer-"):
            refusal = orjson.loads(sample["text"])
            return False, answered_line(custom_id, name, refusal["body"], refusal["status_code"])
    error = outcome["error"] or {"code": outcome["reason"], "message": "the request was rejected"}
    if error["code"] in UNASKED:
        return False, unasked_line(custom_id, name, error["code"], error["message"])
    # The line itself is broken. (A row that took its model's process along was marked so as not to be asked again.)
    if error.get("step") == "read" and error["code"] != ReplicaLostError.code:
        status, code = 400, error["code"]
    else:
        status, code = ROW_CODES.get(error["code"], (500, error["code"]))
    message = error["message"] if status < 500 else NOT_ANSWERED
    return False, answered_line(custom_id, name, ApiError(status, code, message).body(), status)


def refusal_in(outcome: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return code and message as an outcome's line tells them to whoever asked; None: it was answered."""
    if outcome["status"] == "accepted":
        return None
    _, told = line_of(outcome, "")
    error = told["error"] or told["response"]["body"]["error"]
    return error["code"], error["message"]


def public_words(code: str, message: str) -> tuple[str, str]:
    """Return code and message of a failed row as they may be told to whoever asked."""
    if code in UNASKED:
        return code, message
    status, told = ROW_CODES.get(code, (500, code))
    return told, message if status < 500 else NOT_ANSWERED


def _answer_in(sample: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body of an answer. One of bytes, such as speech, is base64 in a line, beside its type."""
    if sample["media_type"] is None:
        answer: dict[str, Any] = orjson.loads(sample["text"])
        return answer
    return {
        "object": "media",
        "media_type": sample["media_type"],
        "b64_data": base64.b64encode(sample["media"]).decode(),
    }
