"""Entailment: what the judge of pairs is asked, and which of its classes counts."""

from __future__ import annotations

from tests.steps.scripted import Judge, Writer, job_of, run

GENERATE = {"generate": {"model": "writer", "prompt": "About {{ text }}"}}


def test_a_long_premise_is_read_by_sentences() -> None:
    by_sentences = {
        "verify": {
            "entailment": {"model": "nli", "premise": "{{ text }}", "by": "sentences", "threshold": 0.8}
        }
    }
    judge = Judge(lambda premise, hypothesis: 0.9 if premise == "It is wet. Rain falls." else 0.2)
    generate = {"generate": {**GENERATE["generate"], "samples": 2}}
    found = run(
        job_of(generate, by_sentences),
        Writer(lambda p, n: f"s{n}"),
        judge,
        text="It is wet. Rain falls. So be it.",
    )
    assert [sample["scores"] for sample in found.samples] == [{"verify": 0.9}] * 2
    [request] = judge.asked
    assert [pair[0] for pair in request.texts if pair[1] == "s1"] == [
        "It is wet.",
        "Rain falls.",
        "So be it.",
        "It is wet. Rain falls.",
        "Rain falls. So be it.",
    ]


def test_the_label_that_counts_may_come_from_the_row() -> None:
    check = {
        "verify": {"entailment": {"model": "nli", "premise": "x", "label": "{{ label }}", "threshold": 0.4}}
    }
    judge, writer = Judge(lambda premise, hypothesis: 0.1), Writer(lambda prompt, n: "said")
    assert run(job_of(GENERATE, check), writer, judge, text="t", label="neutral").status == "accepted"
    found = run(job_of(GENERATE, check), writer, judge, text="t", label="entailment")
    assert (found.status, found.reason) == ("rejected", "not_entailed")
    found = run(job_of(GENERATE, check), writer, judge, text="t", label="other")
    assert (found.status, found.reason, found.error["step"]) == ("failed", "unknown_label", "verify")
