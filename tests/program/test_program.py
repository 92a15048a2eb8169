"""A program: rows go through its steps in order, fail alone, and are tried again with other seeds as often as a job says."""

from __future__ import annotations

import pytest

from raygen.data.sources.base import SourcePlan
from raygen.errors import ConfigError, RowError
from raygen.program.job import Job
from raygen.program.program import Program
from raygen.steps.row.seeds import seed_of
from tests.steps.scripted import Judge, Writer, job_of, run, story, texts

GENERATE = {"generate": {"model": "writer", "prompt": "About {{ text }}"}}
CHECKED = {"verify": {"entailment": {"model": "nli", "premise": "{{ text }}", "threshold": 0.8}}}
REFINED = {"refine": {"prompt": "{{ text }} | {{ sample }} | {{ finding }}", "budget": 3}}
TWICE = {"generate": {"model": "writer", "prompt": "About {{ text }}", "samples": 2, "into": "said"}}
FOLLOWS = {"verify": {"entailment": {"model": "nli", "premise": "{{ text }}"}}}
MENDED = {"refine": {"prompt": "mend {{ sample }}", "budget": 1}}


def test_a_row_that_is_rejected_costs_no_later_step() -> None:
    job = job_of(
        GENERATE,
        {"verify": {"matches": {"pattern": "good"}}},
        {"generate": {"model": "other", "prompt": "next"}},
    )
    writer = Writer(lambda prompt, n: "bad")
    found = run(job, writer, text="rain")
    assert writer.prompts == ["About rain"]
    assert (found.status, found.reason) == ("rejected", "pattern")


def test_what_fails_names_its_step_and_keeps_what_was_done() -> None:
    class Broken(Judge):
        async def classify(self, request):  # type: ignore[no-untyped-def]
            raise RowError("text_too_long", "too long")

    found = run(
        job_of(GENERATE, CHECKED), Writer(lambda prompt, n: "good"), Broken(lambda p, h: 1.0), text="rain"
    )
    assert (found.status, found.reason) == ("failed", "text_too_long")
    assert found.error == {"code": "text_too_long", "message": "too long", "step": "verify"}
    assert (found.samples, texts(found.discarded)) == ([], ["good"])
    assert story(found)[-1] == ("verify", None, "failed")


def columns(job: Job, *names: str) -> None:
    import pyarrow as pa

    Program(job).check_columns(SourcePlan([], [], dict.fromkeys(names, pa.string()), False))


def test_a_step_reads_columns_and_what_steps_before_it_write() -> None:
    named = {"generate": {"model": "writer", "prompt": "{{ text }}", "into": "opening"}}
    later = {"generate": {"model": "writer", "prompt": "{{ opening }}"}}
    columns(job_of(named, later), "text")
    with pytest.raises(
        ConfigError,
        match=r"steps\.0\.generate\.prompt: the source has no column 'opening' and no step before",
    ):
        columns(job_of(later, named), "text")
    with pytest.raises(ConfigError, match="the source has a column 'opening' already"):
        columns(job_of(named, later), "text", "opening")
    with pytest.raises(
        ConfigError, match=r"steps\.1\.verify\.entailment\.premise: the source has no column 'passage'"
    ):
        columns(
            job_of(GENERATE, {"verify": {"entailment": {"model": "nli", "premise": "{{ passage }}"}}}), "text"
        )


@pytest.mark.parametrize(
    ("steps", "where"),
    [
        ([{"generate": {"model": "writer", "prompt": "{{ chat }}"}}], r"steps\.0\.generate\.prompt"),
        (
            [GENERATE, {"verify": {"entailment": {"model": "nli", "premise": "{{ chat }}"}}}],
            r"steps\.1\.verify\.entailment\.premise",
        ),
        (
            [GENERATE, CHECKED, {"refine": {"prompt": "{{ sample }}: {{ chat }}"}}],
            r"steps\.2\.refine\.prompt",
        ),
    ],
)
def test_any_template_that_prints_lists_is_refused_before_work(steps: list, where: str) -> None:
    import pyarrow as pa

    chat = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    source = SourcePlan([], [], {"text": pa.string(), "chat": chat}, True)
    with pytest.raises(
        ConfigError, match=f"{where}: 'chat' holds lists, not text: chat messages go in whole"
    ):
        Program(job_of(*steps)).check_columns(source)


class Third(Writer):
    """Says something good when it is asked for the `nth` time."""

    def __init__(self, nth: int) -> None:
        super().__init__(lambda prompt, n: f"{'good' if len(self.asked) == nth else 'bad'} {len(self.asked)}")


def good(premise: str, hypothesis: str) -> float:
    return float(hypothesis.startswith("good"))


def test_a_rejected_row_is_tried_again_with_other_seeds() -> None:
    writer = Third(3)
    found = run(job_of(TWICE, FOLLOWS, accept={"max_attempts_per_row": 4}), writer, Judge(good), text="rain")
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
        job_of(TWICE, FOLLOWS, MENDED, accept={"max_attempts_per_row": 3}),
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
    once = run(job_of(TWICE, FOLLOWS), Third(99), Judge(good), text="rain")
    first = run(job_of(TWICE, FOLLOWS, accept={"target": 5}), Third(99), Judge(good), text="rain")
    assert once == first


def test_an_accepted_row_is_not_tried_again() -> None:
    writer = Third(1)
    run(job_of(TWICE, FOLLOWS, accept={"max_attempts_per_row": 4}), writer, Judge(good), text="rain")
    assert len(writer.asked) == 1


def test_variables_of_an_attempt_end_with_it() -> None:
    """The second step of the first attempt must not lead the second attempt's first prompt."""
    job = job_of(
        TWICE,
        {"generate": {"model": "other", "prompt": "{{ said }} on"}},
        FOLLOWS,
        accept={"max_attempts_per_row": 2},
    )
    writer = Writer(lambda prompt, n: f"bad {len(prompt)}")
    found = run(job, writer, Judge(good), text="rain")
    assert writer.prompts == ["About rain", "bad 10 on"] * 2
    assert found.variables == {"said": "bad 10"}
    assert len(found.samples) + len(found.discarded) == 6
    # The second attempt is rejected before it writes anything: what the first one wrote is not its own.
    job = job_of(TWICE, FOLLOWS, {"generate": {"model": "other", "prompt": "{{ said }} on"}}, FOLLOWS,
                 accept={"max_attempts_per_row": 2})  # fmt: skip
    found = run(job, Third(1), Judge(good), text="rain")
    assert (found.status, found.variables) == ("rejected", {})


def test_a_failure_is_not_tried_again() -> None:
    class Broken(Judge):
        async def classify(self, request):  # type: ignore[no-untyped-def]
            raise RowError("text_too_long", "too long")

    writer = Third(99)
    found = run(job_of(TWICE, FOLLOWS, accept={"max_attempts_per_row": 4}), writer, Broken(good), text="rain")
    assert (found.status, len(writer.asked)) == ("failed", 1)
    assert story(found)[-1] == ("verify", None, "failed")
