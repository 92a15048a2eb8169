"""The score of entailment: the probability of the label, whatever the threshold."""

from __future__ import annotations

from tests.steps.scripted import Judge, Writer, job_of, run


def test_the_score_is_the_probability_of_the_label() -> None:
    generate = {"generate": {"model": "writer", "prompt": "x"}}
    score = {"score": {"entailment": {"model": "nli", "premise": "{{ text }}", "threshold": 1.0}}}
    judge = Judge(lambda premise, hypothesis: 0.25)
    found = run(job_of(generate, score), Writer(lambda prompt, n: "wet"), judge, text="rain")
    assert (found.status, found.samples[0]["scores"]) == ("accepted", {"score": 0.25})
    assert judge.asked[0].texts == [("rain", "wet")]
    assert found.attempts[-1]["model"] == "nli"
