"""Whatever is sent, fit for the OpenAPI document or not: no fault of the server, and refusals in the protocol's form."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from raygen.serve.config import ServiceConfig
from tests.fakes.batch_service import running

schemathesis = pytest.importorskip("schemathesis")
EXAMPLES = 200 if os.environ.get("RAYGEN_FULL") else 4

MODELS = {
    "smol": {"family": "causal_lm", "engine": "echo", "options": {"output_tokens": 5}},
    "minilm": {"family": "embedder", "engine": "echo"},
    "nli": {"family": "classifier", "engine": "echo"},
    "painter": {"family": "diffusion", "engine": "echo"},
}


@pytest.fixture(scope="module")
def operations(tmp_path_factory):
    store = str(tmp_path_factory.mktemp("store"))
    with running(ServiceConfig.model_validate({"store": store, "models": MODELS}), work=False) as service:
        schema = schemathesis.openapi.from_url(f"{service.url}/openapi.json", wait_for_schema=20)
        yield [found.ok() for found in schema.get_all_operations()]


def test_nothing_that_is_sent_is_a_fault_of_the_server(operations):
    assert len(operations) > 10
    for operation in operations:
        cases = st.one_of(
            operation.as_strategy(generation_mode=mode)
            for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE)
        )

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],
        )
        @given(cases)
        def ask(case):
            answer = case.call(timeout=20)
            assert answer.status_code < 500, (case.as_curl_command(), answer.text)
            if answer.status_code >= 400:
                assert set(answer.json()["error"]) >= {"message", "type", "param", "code"}

        ask()
