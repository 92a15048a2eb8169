"""The judge: its number decides, its reply stays in the story, and silence is no consent."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from raygen.steps.checks.judge import KEPT, SCORE, number_by
from raygen.steps.row.seeds import seed_of
from raygen.steps.tools.patterns import Pattern
from tests.steps.scripted import Writer, job_of, run, story

GENERATE = {"generate": {"model": "writer", "prompt": "{{ text }}", "samples": 2}}


def checked(**judge: object) -> dict:
    rubric = {"model": "other", "prompt": "Rate: {{ sample }} ({{ text }})", "at_least": 5, **judge}
    return {"verify": {"judge": rubric}}


def replies(*texts: str) -> Writer:
    """Writes `sample 0` and `sample 1`; judges the nth with the nth text."""
    return Writer(
        lambda prompt, n: texts[int(prompt.split()[2])] if prompt.startswith("Rate") else f"sample {n}"
    )


def test_the_number_decides_and_the_reply_is_kept() -> None:
    writer = replies("It is fine. Score: 7", "Dull. Score: 4.5 of 10")
    found = run(job_of(GENERATE, checked()), writer, text="rain")
    assert writer.prompts[1:] == ["Rate: sample 0 (rain)", "Rate: sample 1 (rain)"]
    assert [each["text"] for each in found.samples] == ["sample 0"]
    assert found.samples[0]["scores"] == {"verify": 7.0}
    passed, rejected = found.attempts[-2:]
    assert (passed["decision"], passed["detail"], passed["model"]) == (
        "passed",
        "It is fine. Score: 7",
        "other",
    )
    assert rejected["decision"] == "judged_low"
    assert rejected["detail"] == "the judge gives 4.5; at least 5 is wanted: Dull. Score: 4.5 of 10"


def test_a_reply_without_a_number_rejects() -> None:
    found = run(job_of(GENERATE, checked()), replies("Very nice!", "Score: nothing"), text="rain")
    assert (found.status, found.reason) == ("rejected", "no_verdict")
    assert story(found)[-2:] == [("verify", 0, "no_verdict"), ("verify", 1, "no_verdict")]
    assert found.attempts[-2]["detail"] == "the judge gives no number: Very nice!"


def test_a_long_reply_is_kept_in_part() -> None:
    reply = f"Begin {'blah ' * 1000} Score: 9"
    detail = run(job_of(GENERATE, checked()), replies(reply, reply), text="rain").attempts[-1]["detail"]
    assert len(detail) <= KEPT
    assert detail.startswith("Begin blah")
    assert detail.endswith("Score: 9")


def test_a_judge_is_greedy_and_its_seeds_are_its_own() -> None:
    writer = replies("Score: 9", "Score: 9")
    job = job_of(GENERATE, checked(system="You judge {{ text }}."))
    run(job, writer, text="rain")
    asked = writer.asked[1:]
    assert [request.sampling.temperature for request in asked] == [0, 0]
    assert [request.seeds for request in asked] == [
        [seed_of(job.seed, "r1", n, 0, "verify")] for n in range(2)
    ]
    assert asked[0].messages[0] == {"role": "system", "content": "You judge rain."}


@pytest.mark.parametrize(
    ("pattern", "text", "number"),
    [
        (SCORE, "I thought of score 3, but no. **Score**: 8/10", 8),
        (SCORE, '{"score": 0.25}', 0.25),
        (SCORE, "score=-2", -2),
        (SCORE, "8/10", None),
        (SCORE, "underscore 5", None),
        (r"(\d+)/10", "7/10", 7),
        (r"grade (\w+)", "grade A", None),
        (r"grade (\w+)", "grade nan", None),
        (r"grade (\w+)", "grade inf", None),
        (r"a(\d)?", "a1 a", None),
    ],
)
def test_the_number_in_a_reply(pattern: str, text: str, number: float | None) -> None:
    assert number_by(Pattern(pattern), text) == number


@pytest.mark.parametrize(
    ("judge", "message"),
    [
        ({"model": "nli"}, r"steps\.1\.verify\.judge\.model: 'nli' is of family 'classifier', which generates no text"),
        ({"pattern": r"\d+"}, r"steps\.1\.verify\.judge\.pattern\n.*it has no group"),
        ({"pattern": "("}, "not a regular expression"),
        ({"at_least": float("nan")}, r"steps\.1\.verify\.judge\.at_least"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_before_work(judge: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        job_of(GENERATE, checked(**judge))
