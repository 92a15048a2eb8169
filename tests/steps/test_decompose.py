"""Decompose: parts are asked in order, each answer goes into the next prompt, and every call stays in the story."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from raygen.data.sources.base import SourcePlan
from raygen.engines.requests import GenerateRequest, GenerateResult
from raygen.errors import ConfigError
from raygen.program.program import Program
from raygen.steps.decompose import PARTS, parts_in
from raygen.steps.row.seeds import seed_of
from raygen.steps.tools.patterns import Pattern
from tests.steps.scripted import Writer, job_of, run, story, with_rows

ANSWER = "{{ number }} {{ part }}{% for each in answered %} | {{ each.part }} {{ each.answer }}{% endfor %}"
GENERATE = {"generate": {"model": "other", "prompt": "{{ text }} so: {{ parts }}"}}


def split(**changes: Any) -> dict[str, Any]:
    return {
        "decompose": {
            "model": "writer",
            "prompt": "Split: {{ text }}",
            "answer": {"prompt": ANSWER},
            **changes,
        }
    }


def writer_of(parts: str, answers: dict[str, str] | None = None) -> Writer:
    """Splits as told; answers a part with the part in capitals, or as told."""

    def say(prompt: str, n: int) -> str:
        if prompt.startswith("Split"):
            return parts
        words = prompt.split(" | ")[0]
        return (answers or {}).get(words, words[2:].upper())

    return Writer(say)


def test_each_answer_is_carried_into_the_next_prompt() -> None:
    writer = writer_of("Well:\n1. how far?\n2) how fast?\n- when?\n")
    found = run(job_of(split(), GENERATE), writer, text="trip")
    parts = "1. how far?\nHOW FAR?\n\n2. how fast?\nHOW FAST?\n\n3. when?\nWHEN?"
    assert writer.prompts == [
        "Split: trip",
        "1 how far?",
        "2 how fast? | how far? HOW FAR?",
        "3 when? | how far? HOW FAR? | how fast? HOW FAST?",
        f"trip so: {parts}",
    ]
    assert found.variables == {"parts": parts}
    assert (found.status, [each["step"] for each in found.samples]) == ("accepted", ["generate"])


def test_what_it_asks_is_no_sample_of_the_row() -> None:
    first = {"generate": {"model": "other", "prompt": "{{ text }}"}}
    found = run(job_of(first, split()), writer_of("1. a\n2. b"), text="trip")
    assert [each["text"] for each in found.samples] == ["IP"]
    assert [each["step"] for each in found.discarded] == ["decompose"] * 3


def test_every_call_stays_in_the_story_with_a_seed_of_its_own() -> None:
    job = job_of(split(), GENERATE)
    writer = writer_of("1. how far?\n2. how fast?")
    found = run(job, writer, text="trip")
    assert story(found) == [
        ("decompose", 0, "split"),
        ("decompose", 1, "answered"),
        ("decompose", 2, "answered"),
        ("generate", 3, "generated"),
    ]
    assert [each["detail"] for each in found.attempts[:3]] == ["2 parts", "1. how far?", "2. how fast?"]
    assert [each["model"] for each in found.attempts] == ["writer", "writer", "writer", "other"]
    kept = [(each["number"], each["step"], each["text"]) for each in found.discarded]
    assert kept[1:] == [(1, "decompose", "HOW FAR?"), (2, "decompose", "HOW FAST?")]
    seeds = [seed_of(job.seed, "r1", number, 0, "decompose") for number in range(3)]
    assert [each["seed"] for each in found.discarded] == seeds
    assert [request.seeds for request in writer.asked[:3]] == [[seed] for seed in seeds]
    assert len({each["call"] for each in found.discarded}) == 3


def test_no_more_parts_are_answered_than_the_budget_has() -> None:
    writer = writer_of("\n".join(f"{n}. part {n}" for n in range(1, 9)))
    found = run(job_of(split(most=3), GENERATE), writer, text="trip")
    assert len(writer.asked) == 1 + 3 + 1
    assert found.attempts[0]["detail"] == "3 parts; 5 more are left out"
    assert found.variables["parts"].endswith("3. part 3\nPART 3")


def test_a_row_without_parts_is_rejected_and_costs_no_later_step() -> None:
    writer = writer_of("I cannot do that.")
    found = run(job_of(split(), GENERATE), writer, text="trip")
    assert (found.status, found.reason, found.samples) == ("rejected", "no_parts", [])
    assert [each["text"] for each in found.discarded] == ["I cannot do that."]
    assert story(found) == [("decompose", 0, "split"), ("decompose", None, "no_parts")]
    assert len(writer.asked) == 1


def test_a_part_without_an_answer_rejects_the_row() -> None:
    writer = writer_of("1. a\n2. b\n3. c", {"2 b": " "})
    found = run(job_of(split(), GENERATE), writer, text="trip")
    assert (found.status, found.reason) == ("rejected", "no_part_answer")
    assert (len(writer.asked), found.attempts[-1]["detail"]) == (3, "part 2 got no answer: there is no text")
    assert found.variables == {}


def test_samples_of_an_earlier_step_are_put_aside_with_a_refused_row() -> None:
    first = {"generate": {"model": "other", "prompt": "Ask about {{ text }}", "into": "question"}}
    later = split(prompt="Split: {{ question }}")
    writer = Writer(lambda prompt, n: "why?" if prompt.startswith("Ask") else "nothing")
    found = run(job_of(first, later, GENERATE), writer, text="rain")
    assert writer.prompts == ["Ask about rain", "Split: why?"]
    assert (found.reason, found.samples) == ("no_parts", [])
    assert [each["text"] for each in found.discarded] == ["why?", "nothing"]
    assert found.variables == {"question": "why?"}


def test_parts_are_answered_as_the_question_is_split_unless_told_otherwise() -> None:
    sampling, own = {"temperature": 0.5}, {"temperature": 0}
    writer = writer_of("1. a")
    run(job_of(split(system="Be {{ text }}.", sampling=sampling), GENERATE), writer, text="brief")
    assert [request.sampling.temperature for request in writer.asked[:2]] == [0.5, 0.5]
    assert [request.messages[0]["content"] for request in writer.asked[:2]] == ["Be brief.", "Be brief."]
    writer = writer_of("1. a")
    answer = {"prompt": ANSWER, "system": "About {{ part }}", "sampling": own, "model": "other"}
    found = run(job_of(split(sampling=sampling, answer=answer), GENERATE), writer, text="trip")
    assert [request.sampling.temperature for request in writer.asked[:2]] == [0.5, 0]
    assert [len(request.messages) for request in writer.asked[:2]] == [1, 2]
    assert writer.asked[1].messages[0]["content"] == "About a"
    assert found.attempts[1]["model"] == "other"


@pytest.mark.parametrize(
    ("pattern", "text", "parts"),
    [
        (PARTS, "1. a b \n 2) c\n10: d", ["a b", "c", "d"]),
        (PARTS, "- a\n* b\n• c", ["a", "b", "c"]),
        (PARTS, "1. a\n2. a\n3. b", ["a", "b"]),
        (PARTS, "In 2020. Not 1. this\n-not this\n2.5 nor this\n1.\n2. ", []),
        (r"\w+\?", "what? and why?", ["what?", "why?"]),
        (r"<q>(.*?)</q>|!", "<q>a  b</q> ! <q> </q>", ["a b"]),
    ],
)
def test_parts_in_a_text(pattern: str, text: str, parts: list[str]) -> None:
    assert parts_in(text, Pattern(pattern)) == parts


REFINE = {"refine": {"prompt": "{{ finding }}"}}
VERIFY = {"verify": {"length": {}}}


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([split(model="nli"), GENERATE], r"steps\.0\.decompose\.model: 'nli' is of family 'classifier', which generates no"),
        ([split(answer={"prompt": "x", "model": "nil"}), GENERATE], r"steps\.0\.decompose\.answer\.model: no model 'nil'"),
        ([split(most=0), GENERATE], r"steps\.0\.decompose\.most"),
        ([split(pattern="("), GENERATE], "not a regular expression"),
        ([split(into="the parts"), GENERATE], r"steps\.0\.decompose\.into"),
        ([split()], "there is no `generate` among them"),
        ([split(), VERIFY, GENERATE], r"steps\.1\.verify: there is no sample yet; a `generate` has to stand before it"),
        ([GENERATE, VERIFY, split(), REFINE], r"steps\.2\.decompose: a `refine` after it makes the steps above it again"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_before_work(steps: list, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        job_of(*steps)


def test_a_refine_of_later_samples_may_follow() -> None:
    job_of(split(), GENERATE, VERIFY, REFINE)
    job_of(GENERATE, VERIFY, REFINE, split(), GENERATE)


def columns(job: Any, *names: str) -> None:
    import pyarrow as pa

    Program(job).check_columns(SourcePlan([], [], dict.fromkeys(names, pa.string()), False))


def test_it_reads_columns_and_writes_a_variable() -> None:
    columns(job_of(split(), GENERATE), "text")
    with pytest.raises(
        ConfigError, match=r"steps\.0\.generate\.prompt: the source has no column 'parts' and no step before"
    ):
        columns(job_of(GENERATE, split()), "text")
    with pytest.raises(ConfigError, match=r"steps\.0\.decompose\.prompt: the source has no column 'part'"):
        columns(job_of(split(prompt="{{ part }}"), GENERATE), "text")
    with pytest.raises(ConfigError, match="the source has a column 'parts' already"):
        columns(job_of(split(), GENERATE), "text", "parts")


def test_the_report_shows_the_prompt_with_its_parts(tmp_path: Any) -> None:
    from raygen.pipeline.run import run_job

    found = with_rows(tmp_path, {"id": ["a"], "text": ["trip"]})
    job = job_of(split(pattern="[0-9a-f]{30}"), GENERATE)
    source = job.source.model_copy(update={"uri": str(found)})
    echo = job.model_copy(update={"source": source, "output": str(tmp_path / "out")})
    result = run_job(echo, inline=True)
    assert result.rows["accepted"] == 1
    assert "trip so: 1. " in (tmp_path / "out" / "report.html").read_text()


def test_what_was_cut_off_is_told() -> None:
    class Cut(Writer):
        async def generate(self, request: GenerateRequest) -> GenerateResult:
            result = await super().generate(request)
            result.samples[0].finish_reason = "length"
            return result

    found = run(job_of(split(), GENERATE), Cut(writer_of("1. a\n2. b", {})._answers), text="trip")
    said = [each["detail"] for each in found.attempts if each["step"] == "decompose"]
    assert said == [
        "2 parts; cut off at max_tokens",
        "1. a; cut off at max_tokens",
        "2. b; cut off at max_tokens",
    ]
