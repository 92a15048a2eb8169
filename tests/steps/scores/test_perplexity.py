"""Perplexity: exp of the mean negative log-likelihood a token, by an engine that tells likelihoods."""

from __future__ import annotations

import math
from typing import Any

import pytest
from pydantic import ValidationError

from raygen.program.job import Job
from raygen.steps.scores.perplexity import MOST
from tests.steps.scripted import ECHO, NLI, Reader, Writer, job_of, run_with

MODELS = {"writer": ECHO, "nli": NLI, "reader": Reader.spec}
TEXTS = ["one", "one two", "one two three four"]


def job(model: str = "reader", models: dict[str, Any] = MODELS, **config: Any) -> Job:
    generate = {"generate": {"model": "writer", "prompt": "x", "samples": 3}}
    score = {"name": "surprise", "score": {"perplexity": {"model": model, **config}}}
    return job_of(generate, score, models=models)


def test_it_is_the_inverse_of_the_mean_probability_a_token() -> None:
    # Each token has a probability of 1/8: the perplexity is 8, however long the text.
    reader = Reader(lambda prompt, text: -len(text.split()) * math.log(8))
    found = run_with(job(), {}, writer=Writer(lambda p, n: TEXTS[n]), reader=reader)
    assert [each["scores"]["surprise"] for each in found.samples] == pytest.approx([8, 8, 8])
    assert [(request.texts, request.messages) for request in reader.asked] == [(TEXTS, None)]


def test_samples_after_one_prompt_are_asked_together() -> None:
    reader = Reader(lambda prompt, text: -float(len(prompt or "")) * len(text.split()))
    made = job(prompt="{{ text }}{% if 'two' in sample %}?{% endif %}")
    found = run_with(made, {"text": "ab"}, writer=Writer(lambda p, n: TEXTS[n]), reader=reader)
    assert [
        (request.texts, request.messages[0]["content"]) for request in reader.asked if request.messages
    ] == [
        ([TEXTS[0]], "ab"),
        ([TEXTS[1], TEXTS[2]], "ab?"),
    ]
    scores = [each["scores"]["surprise"] for each in found.samples]
    assert scores == pytest.approx([math.exp(2), math.exp(3), math.exp(3)])


def test_what_is_next_to_impossible_is_still_a_number() -> None:
    found = run_with(job(), {}, writer=Writer(lambda p, n: "a"), reader=Reader(lambda p, text: -1e6))
    assert found.samples[0]["scores"]["surprise"] == math.exp(MOST)


def test_a_sample_without_tokens_fails_the_row() -> None:
    class Deaf(Reader):
        async def likelihood(self, request):  # type: ignore[no-untyped-def]
            result = await super().likelihood(request)
            result.tokens = [0] * len(result.tokens)
            return result

    found = run_with(job(), {}, writer=Writer(lambda p, n: "a"), reader=Deaf(lambda p, text: 0.0))
    assert found.error == {
        "code": "empty_text",
        "message": "a sample has no tokens; its perplexity is not defined",
        "step": "surprise",
    }


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            "endpoint",
            r"steps\.1\.score\.perplexity\.model: 'endpoint' is of family 'causal_lm', which tells no likelihood of a text "
            r"on engine 'openai'; what does: echo \(causal_lm\), torch \(causal_lm\)",
        ),
        ("nli", r"steps\.1\.score\.perplexity\.model: 'nli' is of family 'classifier'"),
    ],
)
def test_an_engine_that_cannot_is_refused_before_work(model: str, message: str) -> None:
    endpoint = {
        "family": "causal_lm",
        "engine": "openai",
        "ref": "m",
        "options": {"base_url": "http://localhost/v1"},
    }
    with pytest.raises(ValidationError, match=message):
        job(model, {**MODELS, "endpoint": endpoint})
