"""The refine step: rejected samples are made again with the finding, checked again, within a budget."""

from __future__ import annotations

import pytest

from tests.steps.scripted import Judge, Writer, job_of, run, story, texts

GENERATE = {"generate": {"model": "writer", "prompt": "About {{ text }}"}}
CHECKED = {"verify": {"entailment": {"model": "nli", "premise": "{{ text }}", "threshold": 0.8}}}
REFINED = {"refine": {"prompt": "{{ text }} | {{ sample }} | {{ finding }}", "budget": 3}}


def test_refinement_tells_the_finding_and_checks_again() -> None:
    writer = Writer(lambda prompt, n: "bad" if prompt.startswith("About") else "good")
    found = run(
        job_of(GENERATE, CHECKED, REFINED), writer, Judge(lambda p, h: float(h == "good")), text="rain"
    )
    assert writer.prompts == ["About rain", "rain | bad | it does not follow from the text (neutral: 50%)"]
    assert (found.status, texts(found.samples), texts(found.discarded)) == ("accepted", ["good"], ["bad"])
    assert (found.samples[0]["number"], found.samples[0]["parent"], found.samples[0]["step"]) == (
        1,
        0,
        "refine",
    )
    assert story(found) == [
        ("generate", 0, "generated"),
        ("verify", 0, "not_entailed"),
        ("refine", 1, "refined"),
        ("verify", 1, "passed"),
    ]


@pytest.mark.parametrize(
    ("samples", "budget", "asked"), [(1, 1, 1), (1, 3, 3), (2, 3, 3), (5, 3, 3), (2, 4, 4)]
)
def test_a_row_never_spends_more_than_its_budget(samples: int, budget: int, asked: int) -> None:
    generate = {"generate": {**GENERATE["generate"], "samples": samples}}
    refine = {"refine": {**REFINED["refine"], "budget": budget}}
    writer = Writer(lambda prompt, n: "bad")
    found = run(job_of(generate, CHECKED, refine), writer, Judge(lambda p, h: 0.0), text="rain")
    assert len(writer.asked) - 1 == asked
    assert (found.status, found.reason) == ("rejected", "not_entailed")
    assert len(found.samples) + len(found.discarded) == samples + asked
    numbers = [each["number"] for each in [*found.samples, *found.discarded]]
    assert sorted(numbers) == list(range(samples + asked))
    seeds = [seed for request in writer.asked for seed in request.seeds]
    assert len(set(seeds)) == len(seeds)


def test_refinement_ends_once_enough_samples_are_accepted() -> None:
    generate = {"generate": {**GENERATE["generate"], "samples": 3}}
    refine = {"refine": {**REFINED["refine"], "budget": 9, "until": 2}}
    writer = Writer(
        lambda prompt, n: "good" if n == 0 and prompt.startswith("About") else f"bad {len(prompt)}"
    )
    found = run(
        job_of(generate, CHECKED, refine), writer, Judge(lambda p, h: float(h == "good")), text="rain"
    )
    assert len(writer.asked) == 1 + 9  # one is accepted, two are wanted: it goes on to its budget
    assert texts(found.samples) == ["good"]
    enough = {"refine": {**REFINED["refine"], "until": 1}}
    writer = Writer(lambda prompt, n: "good" if n == 0 else "bad")
    run(job_of(generate, CHECKED, enough), writer, Judge(lambda p, h: float(h == "good")), text="rain")
    assert len(writer.asked) == 1


def test_every_check_above_is_made_again_and_no_other() -> None:
    job = job_of(
        GENERATE,
        {"verify": {"length": {"at_least": 2}}},
        {"refine": {"prompt": "longer: {{ sample }}", "budget": 2}},
        CHECKED,
        {"refine": {"prompt": "better: {{ sample }}", "budget": 2}},
    )
    answers = {"About rain": "a", "longer: a": "a b", "better: a b": "c"}
    judge = Judge(lambda p, h: float(h == "c"))
    found = run(job, Writer(lambda prompt, n: answers[prompt]), judge, text="rain")
    assert (found.status, texts(found.samples)) == (
        "accepted",
        ["c"],
    )  # the length is checked before the first refine only
    assert [request.texts for request in judge.asked] == [[("rain", "a b")], [("rain", "c")]]
