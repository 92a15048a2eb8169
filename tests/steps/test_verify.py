"""The verify step: samples that fail are rejected, with the finding; the others go on."""

from __future__ import annotations

from tests.steps.scripted import Judge, Writer, job_of, run, story, texts

GENERATE = {"generate": {"model": "writer", "prompt": "About {{ text }}"}}
CHECKED = {"verify": {"entailment": {"model": "nli", "premise": "{{ text }}", "threshold": 0.8}}}


def test_a_verified_row_is_accepted_with_the_probability() -> None:
    judge = Judge(lambda premise, hypothesis: 0.9)
    found = run(job_of(GENERATE, CHECKED), Writer(lambda prompt, n: "good"), judge, text="rain")
    assert (found.status, found.reason, texts(found.samples)) == ("accepted", None, ["good"])
    assert judge.asked[0].texts == [("rain", "good")]
    assert found.samples[0]["scores"] == {"verify": 0.9}
    assert found.attempts[-1]["scores"]["entailment"] == 0.9
    assert found.attempts[-1]["model"] == "nli"


def test_a_rejected_row_says_why_and_keeps_its_samples() -> None:
    found = run(
        job_of(GENERATE, CHECKED), Writer(lambda prompt, n: "bad"), Judge(lambda p, h: 0.1), text="rain"
    )
    assert (found.status, found.reason, texts(found.samples)) == ("rejected", "not_entailed", ["bad"])
    assert story(found) == [("generate", 0, "generated"), ("verify", 0, "not_entailed")]
    assert "it does not follow from the text (neutral: 45%)" in found.attempts[-1]["detail"]


def test_samples_that_fail_are_put_aside_and_the_others_go_on() -> None:
    generate = {"generate": {**GENERATE["generate"], "samples": 3}}
    writer = Writer(lambda prompt, n: ["good 0", "bad 1", "good 2"][n])
    found = run(job_of(generate, CHECKED), writer, Judge(lambda p, h: float("good" in h)), text="rain")
    assert texts(found.samples) == ["good 0", "good 2"]
    assert [(each["number"], each["text"]) for each in found.discarded] == [(1, "bad 1")]
