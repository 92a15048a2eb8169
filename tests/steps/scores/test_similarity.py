"""Similarity: known cosines."""

from __future__ import annotations

import math

import pytest
from pydantic import ValidationError

from raygen.program.job import Job
from raygen.program.program import Tally
from tests.steps.scripted import ECHO, NLI, Embedder, Writer, job_of, run_with

GENERATE = {"generate": {"model": "writer", "prompt": "x", "samples": 4}}
VECTORS = {"right": [2, 0], "up": [0, 3], "left": [-1, 0], "slant": [1, 1], "nothing": [0, 0]}
MODELS = {"writer": ECHO, "nli": NLI, "embedder": Embedder.spec}


def job(**config: object) -> Job:
    similarity = {"model": "embedder", "to": "{{ text }}", **config}
    return job_of(GENERATE, {"name": "near", "score": {"similarity": similarity}}, models=MODELS)


def test_known_cosines() -> None:
    texts = ["right", "up", "left", "slant"]
    embedder = Embedder(lambda text: VECTORS[text])
    found = run_with(job(), {"text": "right"}, writer=Writer(lambda p, n: texts[n]), embedder=embedder)
    scores = [each["scores"]["near"] for each in found.samples]
    assert scores == pytest.approx([1, 0, -1, math.sqrt(0.5)])
    assert [request.inputs for request in embedder.asked] == [["right", "up", "left", "slant"]]
    assert found.attempts[-1]["model"] == "embedder"
    assert found.attempts[-1]["scores"] == {"near": scores[3]}


def test_a_text_without_direction_is_near_to_nothing() -> None:
    embedder = Embedder(lambda text: VECTORS[text])
    found = run_with(job(), {"text": "right"}, writer=Writer(lambda p, n: "nothing"), embedder=embedder)
    assert [each["scores"]["near"] for each in found.samples] == [0] * 4


def test_texts_are_templates_and_tokens_are_counted() -> None:
    embedder = Embedder(lambda text: [1, len(text)])
    made = job(to="{{ text }} {{ sample }}", text="about {{ answer }}")
    found = run_with(made, {"text": "rain"}, writer=Writer(lambda p, n: "ab"), embedder=embedder)
    assert embedder.asked[0].inputs == ["about ab", "rain ab"]
    assert found.samples[0]["scores"]["near"] == pytest.approx(57 / math.sqrt(65 * 50))

    import asyncio

    from raygen.program.program import Program

    tally = Tally()
    engines = {"writer": Writer(lambda p, n: "ab"), "embedder": embedder}
    asyncio.run(Program(made).run(engines, "r1", {"text": "rain"}, None, tally))
    assert tally.usage == {"prompt_tokens": 1, "output_tokens": 4, "encoded_tokens": 10}


def test_a_model_that_embeds_nothing_is_refused() -> None:
    with pytest.raises(
        ValidationError, match=r"steps\.1\.score\.similarity\.model: 'nli' is of family 'classifier', which"
    ):
        job(model="nli")
