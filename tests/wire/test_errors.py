"""Errors as clients are told them: OpenAI's form, the request's faults as its own, and no library's words."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import pytest

import raygen.engines
import raygen.models
from raygen.errors import BusyError, EngineError, RowError
from raygen.wire.errors import ROW_CODES, ApiError, api_error

# Codes of engines that are the server's fault, or that no request over HTTP leads to.
OWN = {"nan_logits", "generation_failed", "bad_answer", "token_mask_failed", "redirected"}
OTHERS = {"missing_value", "too_long"}


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (RowError("prompt_too_long", "has 9 tokens"), 400, "context_length_exceeded"),
        (RowError("unknown_adapter", "none"), 404, "model_not_found"),
        (RowError("nan_logits", "secret words"), 500, "nan_logits"),
        (RowError("timeout", "secret words"), 503, "endpoint_unavailable"),
        (RowError("invalid_text", "secret words", public="refused"), 400, "invalid_value"),
        (EngineError("secret words"), 503, "engine_failed"),
        (BusyError("busy", 2.0), 429, "model_busy"),
        (KeyError("secret words"), 500, "internal_error"),
    ],
)
def test_each_error_has_its_status_and_no_words_of_others(error, status, code):
    found = api_error(error)
    assert (found.status, found.code) == (status, code)
    assert "secret" not in found.message
    body = found.body("req_1")["error"]
    assert set(body) == {"message", "type", "param", "code", "request_id"}
    again = pickle.loads(pickle.dumps(found))
    assert again.body() == found.body()


def test_what_passes_over_says_when_to_ask_again():
    assert api_error(BusyError("busy", 2.0)).headers == {"retry-after": "2", "retry-after-ms": "2000"}
    assert "retry-after" in api_error(RowError("unreachable", "x")).headers


def test_public_words_of_a_row_survive_a_process():
    error = pickle.loads(pickle.dumps(RowError("invalid_text", "long", public="short")))
    assert (error.message, error.public) == ("long", "short")
    assert api_error(ApiError(404, "x", "y")).code == "x"


def test_every_code_of_the_engines_is_known():
    raised = set()
    for room in (raygen.engines, raygen.models):
        for path in Path(room.__path__[0]).rglob("*.py"):
            raised |= set(re.findall(r'RowError\(\s*"([a-z_0-9]+)"', path.read_text()))
    assert raised - ROW_CODES.keys() - OWN - OTHERS == set()
