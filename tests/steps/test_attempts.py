"""Attempts: a rejected row is tried again from the first step on, with other seeds, so often and no oftener."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from raygen.errors import RowError
from raygen.steps.row.seeds import seed_of
from tests.steps.scripted import Judge, Writer, job_of, run, story

GENERATE = {"generate": {"model": "writer", "prompt": "About {{ text }}", "samples": 2, "into": "said"}}
CHECKED = {"verify": {"entailment": {"model": "nli", "premise": "{{ text }}"}}}
REFINED = {"refine": {"prompt": "mend {{ sample }}", "budget": 1}}


class Third(Writer):
    """Says something good when it is asked for the `nth` time."""

    def __init__(self, nth: int) -> None:
        super().__init__(lambda prompt, n: f"{'good' if len(self.asked) == nth else 'bad'} {len(self.asked)}")


def good(premise: str, hypothesis: str) -> float:
    return float(hypothesis.startswith("good"))


def test_a_rejected_row_is_tried_again_with_other_seeds() -> None:
    writer = Third(3)
    found = run(
        job_of(GENERATE, CHECKED, accept={"max_attempts_per_row": 4}), writer, Judge(good), text="rain"
    )
    assert (found.status, [s["text"] for s in found.samples]) == ("accepted", ["good 3", "good 3"])
    assert [request.seeds for request in writer.asked] == [
        [seed_of(7, "r1", n, attempt, "generate") for n in (0, 1)] for attempt in range(3)
    ]
    assert [s["text"] for s in found.discarded] == ["bad 1", "bad 1", "bad 2", "bad 2"]
    assert [s["number"] for s in [*found.discarded, *found.samples]] == list(range(6))
    assert [(a["attempt"], a["decision"]) for a in found.attempts] == [
        *([(0, "generated")] * 2 + [(0, "not_entailed")] * 2),
        *([(1, "generated")] * 2 + [(1, "not_entailed")] * 2),
        *([(2, "generated")] * 2 + [(2, "passed")] * 2),
    ]
    assert found.variables == {"said": "good 3"}


def test_attempts_are_a_bound() -> None:
    writer = Third(99)
    found = run(
        job_of(GENERATE, CHECKED, REFINED, accept={"max_attempts_per_row": 3}),
        writer,
        Judge(good),
        text="rain",
    )
    assert (found.status, found.reason, len(writer.asked)) == ("rejected", "not_entailed", 3 * 2)
    assert [s["number"] for s in found.samples] == [7, 8]  # of the last attempt: one left, and one mended
    assert [s["number"] for s in found.discarded] == list(range(7))
    seeds = [seed for request in writer.asked for seed in request.seeds]
    assert len(set(seeds)) == len(seeds)


def test_one_attempt_is_what_it_was() -> None:
    once = run(job_of(GENERATE, CHECKED), Third(99), Judge(good), text="rain")
    first = run(job_of(GENERATE, CHECKED, accept={"target": 5}), Third(99), Judge(good), text="rain")
    assert once == first


def test_an_accepted_row_is_not_tried_again() -> None:
    writer = Third(1)
    run(job_of(GENERATE, CHECKED, accept={"max_attempts_per_row": 4}), writer, Judge(good), text="rain")
    assert len(writer.asked) == 1


def test_variables_of_an_attempt_end_with_it() -> None:
    """The second step of the first attempt must not lead the second attempt's first prompt."""
    job = job_of(
        GENERATE,
        {"generate": {"model": "other", "prompt": "{{ said }} on"}},
        CHECKED,
        accept={"max_attempts_per_row": 2},
    )
    writer = Writer(lambda prompt, n: f"bad {len(prompt)}")
    found = run(job, writer, Judge(good), text="rain")
    assert writer.prompts == ["About rain", "bad 10 on"] * 2
    assert found.variables == {"said": "bad 10"}
    assert len(found.samples) + len(found.discarded) == 6
    # The second attempt is rejected before it writes anything: what the first one wrote is not its own.
    job = job_of(GENERATE, CHECKED, {"generate": {"model": "other", "prompt": "{{ said }} on"}}, CHECKED,
                 accept={"max_attempts_per_row": 2})  # fmt: skip
    found = run(job, Third(1), Judge(good), text="rain")
    assert (found.status, found.variables) == ("rejected", {})


def test_a_failure_is_not_tried_again() -> None:
    class Broken(Judge):
        async def classify(self, request):  # type: ignore[no-untyped-def]
            raise RowError("text_too_long", "too long")

    writer = Third(99)
    found = run(
        job_of(GENERATE, CHECKED, accept={"max_attempts_per_row": 4}), writer, Broken(good), text="rain"
    )
    assert (found.status, len(writer.asked)) == ("failed", 1)
    assert story(found)[-1] == ("verify", None, "failed")


@pytest.mark.parametrize(
    "accept", [{}, {"target": 0}, {"max_attempts_per_row": 0}, {"max_attempts_per_row": 65}, {"most": 1}]
)
def test_what_says_nothing_or_too_much_is_refused(accept: dict[str, int]) -> None:
    with pytest.raises(ValidationError, match="accept"):
        job_of(GENERATE, accept=accept)


def test_what_is_enough_is_part_of_what_a_job_is() -> None:
    plain = job_of(GENERATE)
    assert "accept" not in plain.identity()  # a job without one is the job that it was
    wants = job_of(GENERATE, accept={"target": 3})
    assert wants.identity()["accept"] == {"target": 3, "max_attempts_per_row": 1}
    assert wants.config_hash() != plain.config_hash()
