"""Rows of every kind of step are told again from their outcomes alone."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from raygen.program.retell import retell
from tests.steps.scripted import ECHO, NLI, Embedder, Judge, Reader, Writer, job_of, run_with

MODELS = {"writer": ECHO, "nli": NLI, "embedder": Embedder.spec, "reader": Reader.spec}
STEPS: list[dict[str, Any]] = [
    {"decompose": {"model": "writer", "prompt": "Split {{ text }}", "answer": {"prompt": "{{ part }}"}}},
    {"generate": {"model": "writer", "prompt": "{{ parts }}", "samples": 2}},
    {"verify": {"consistency": {"model": "nli"}}},
    {"name": "judge", "verify": {"judge": {"model": "writer", "prompt": "Rate {{ sample }}", "at_least": 5}}},
    {"name": "surprise", "score": {"perplexity": {"model": "reader"}}},
    {"name": "near", "score": {"similarity": {"model": "embedder", "to": "{{ text }}"}}},
    {"filter": {"score": "near", "at_least": 0}},
    {"select": {"best": "surprise"}},
]


def say(prompt: str, index: int) -> str:
    if prompt.startswith("Split"):
        return "1. one\n2. two"
    if prompt.startswith("Rate"):
        return "Score: 9" if prompt.endswith("1.") else "Score: 2"
    return f"Sample of it. Number {index}."


def test_prompts_are_told_again_and_no_model_is_asked() -> None:
    job = job_of(*STEPS, models=MODELS)
    writer = Writer(say)
    engines = {
        "nli": Judge(lambda p, h: 1.0),
        "reader": Reader(lambda p, t: -1.0),
        "embedder": Embedder(lambda t: [1]),
    }
    outcome = run_with(job, {"text": "rain"}, writer=writer, **engines)
    assert (outcome.status, [each["text"] for each in outcome.samples]) == (
        "accepted",
        ["Sample of it. Number 1."],
    )
    pinned = {name: {"ref": spec.get("ref"), "digest": "scripted"} for name, spec in MODELS.items()}
    told = retell(job, pinned, asdict(outcome), {"text": "rain"})
    assert told.problem is None
    assert [prompt.step for prompt in told.prompts] == [*["decompose"] * 3, "generate", *["judge"] * 2]
    assert [prompt.request.messages for prompt in told.prompts] == [each.messages for each in writer.asked]


def test_a_selection_by_meaning_is_told_as_it_was_made() -> None:
    steps = [
        {"generate": {"model": "writer", "prompt": "{{ text }}", "samples": 3, "into": "said"}},
        {"select": {"diverse": {"count": 1, "model": "embedder"}}},
        {"generate": {"model": "writer", "prompt": "{{ said }} goes on"}},
    ]
    job = job_of(*steps, models=MODELS)
    writer = Writer(say)
    outcome = run_with(job, {"text": "rain"}, writer=writer, embedder=Embedder(lambda text: [1]))
    pinned = {name: {"ref": spec.get("ref"), "digest": "scripted"} for name, spec in MODELS.items()}
    told = retell(job, pinned, asdict(outcome), {"text": "rain"})
    assert told.problem is None
    assert [prompt.request.messages for prompt in told.prompts] == [each.messages for each in writer.asked]
