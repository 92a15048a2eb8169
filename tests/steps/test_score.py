"""The score step: every accepted sample gets a number, under the step's name."""

from __future__ import annotations

from tests.steps.scripted import Writer, job_of, run, story


def test_accepted_samples_get_a_number_by_the_steps_name() -> None:
    job = job_of(
        {"generate": {"model": "writer", "prompt": "x", "samples": 2}},
        {"verify": {"matches": {"pattern": "b"}}},
        {"score": {"length": "words"}},
        {"name": "letters", "score": {"length": "characters"}},
    )
    found = run(job, Writer(lambda prompt, n: ["a b", "a"][n]))
    assert [sample["scores"] for sample in found.samples] == [{"score": 2.0, "letters": 3.0}]
    assert [sample["scores"] for sample in found.discarded] == [{}]
    assert story(found)[-2:] == [("score", 0, "scored"), ("letters", 0, "scored")]
