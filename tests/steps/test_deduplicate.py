"""The deduplicate step: it stands last, and a row only notes its fingerprint."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from raygen.data.text.fingerprint import Near, fingerprint
from tests.steps.scripted import Writer, job_of, run

GENERATE = {"generate": {"model": "writer", "prompt": "About {{ text }}", "samples": 2}}
EXACT = {"deduplicate": {"exact": True}}


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (
            [GENERATE, EXACT, {"select": {"first": 1}}],
            "steps.1.deduplicate: .* move it to the end, behind `select`",
        ),
        ([GENERATE, EXACT, EXACT], "steps.1.deduplicate: there is another `deduplicate` after it"),
        ([EXACT], "steps.0.deduplicate: there is no sample yet"),
        ([GENERATE, {"deduplicate": {}}], "give exactly one of exact, near"),
        ([GENERATE, {"deduplicate": {"exact": True, "near": {}}}], "give exactly one of exact, near"),
        ([GENERATE, {"deduplicate": {"near": {"similarity": 0.3}}}], "0.5"),
        ([GENERATE, {"deduplicate": {"near": {"permutations": 4}}}], "16"),
    ],
)
def test_bad_steps_are_refused(steps: list[dict], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        job_of(*steps)


def test_an_accepted_row_notes_what_all_its_samples_say() -> None:
    writer = Writer(lambda prompt, n: f"Sample {n}")
    assert run(job_of(GENERATE, EXACT), writer, text="x").fingerprint == fingerprint(
        ["sample 0", "sample 1"], None
    )
    near = {"deduplicate": {"of": "{{ topic }}: {{ sample }}", "near": {"ngram": 3}}}
    found = run(job_of(GENERATE, near), writer, text="x", topic="sea")
    assert found.fingerprint == fingerprint(["sea: sample 0", "sea: sample 1"], Near(ngram=3))


def test_the_fingerprint_is_of_the_samples_that_are_accepted() -> None:
    writer = Writer(lambda prompt, n: ["good", "bad"][n])
    verified = [GENERATE, {"verify": {"matches": {"pattern": "good"}}}, EXACT]
    assert run(job_of(*verified), writer, text="x").fingerprint == fingerprint(["good"], None)


def test_a_row_that_is_not_accepted_has_none() -> None:
    job = job_of(GENERATE, {"verify": {"matches": {"pattern": "never"}}}, EXACT)
    found = run(job, Writer(lambda prompt, n: "text"), text="x")
    assert (found.status, found.fingerprint) == ("rejected", None)


def test_a_row_without_what_is_compared_fails_and_names_the_step() -> None:
    job = job_of(GENERATE, {"deduplicate": {"of": "{{ topic }}", "exact": True}})
    found = run(job, Writer(lambda prompt, n: "text"), text="x", topic=None)
    assert (found.status, found.reason, found.error["step"]) == ("failed", "missing_value", "deduplicate")
    assert found.fingerprint is None
