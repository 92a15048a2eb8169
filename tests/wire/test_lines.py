"""Lines of results: every outcome is one line, with the status that the same request would have had over HTTP."""

from __future__ import annotations

import json

import pytest

from raygen.runs.outcome import UNASKED
from raygen.wire.lines import line_of, unasked

REFUSED = {"error": {"message": "n: too many", "type": "invalid_request_error", "param": "n", "code": "c"}}


def outcome(status="failed", sample=None, refusal=None, error=None, reason=None):
    text = {"media_type": None, "media": None, "text": None}
    discarded = [] if refusal is None else [{**text, "call": "answer-x", "text": json.dumps(refusal)}]
    samples = [] if sample is None else [{**text, **sample}]
    return {
        "row_id": "r1",
        "status": status,
        "samples": samples,
        "discarded": discarded,
        "error": error,
        "reason": reason,
    }


def test_an_answer_is_its_body():
    good, line = line_of(outcome("accepted", {"text": '{"object":"list"}'}), "name")
    assert good
    assert line == {
        "id": "batch_req_name",
        "custom_id": "r1",
        "response": {"status_code": 200, "request_id": "name", "body": {"object": "list"}},
        "error": None,
    }


def test_speech_is_base64_beside_its_type():
    sample = {"media_type": "audio/wav", "media": b"RIFF"}
    body = line_of(outcome("accepted", sample), "name")[1]["response"]["body"]
    assert body == {"object": "media", "media_type": "audio/wav", "b64_data": "UklGRg=="}


def test_a_refusal_keeps_its_status_and_body():
    good, line = line_of(outcome(refusal={"status_code": 422, "body": REFUSED}), "name")
    assert not good
    assert (line["response"]["status_code"], line["response"]["body"]) == (422, REFUSED)


@pytest.mark.parametrize(
    ("step", "code", "status", "told"),
    [
        ("read", "broken_json", 400, "why"),
        ("answer", "prompt_too_long", 400, "why"),
        ("answer", "nan_logits", 500, "the request could not be answered"),
    ],
)
def test_a_failure_has_the_status_of_its_code_and_words_of_the_server_stay_inside(step, code, status, told):
    error = {"step": step, "code": code, "message": "why"}
    response = line_of(outcome(error=error), "name")[1]["response"]
    assert (response["status_code"], response["body"]["error"]["message"]) == (status, told)


@pytest.mark.parametrize("status", ["cancelled", "expired"])
def test_a_row_that_was_never_asked_has_no_response(status):
    code, message = unasked(status)
    assert code in UNASKED
    error = {"step": "answer", "code": code, "message": message}
    good, line = line_of(outcome(error=error, reason=code), "name")
    assert not good
    assert (line["response"], line["error"]) == (None, {"code": code, "message": message})


def test_an_outcome_of_another_step_is_no_answer():
    with pytest.raises(ValueError, match="unexpected"):
        line_of(outcome("accepted", {"text": "hello"}), "name")
