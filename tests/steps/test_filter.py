"""The filter step: samples whose score is out of bounds are rejected."""

from __future__ import annotations

from tests.steps.scripted import Writer, job_of, run, texts


def test_samples_out_of_bounds_are_rejected() -> None:
    lengths = ["a b", "a b c d", "a", "w x y z"]
    job = job_of(
        {"generate": {"model": "writer", "prompt": "x", "samples": 4}},
        {"name": "long", "score": {"length": "words"}},
        {"filter": {"score": "long", "at_least": 2, "at_most": 3}},
    )
    found = run(job, Writer(lambda prompt, n: lengths[n]))
    assert (texts(found.samples), found.samples[0]["scores"]) == (["a b"], {"long": 2.0})
    assert {each["detail"] for each in found.attempts if each["decision"] == "filtered"} == {
        "long is 4; at most 3 is wanted",
        "long is 1; at least 2 is wanted",
    }
