"""What models say that is no answer: rejected with the reason, its words kept; and never a verdict, a part or a text."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from raygen.engines.requests import GeneratedSample, GenerateRequest, GenerateResult
from raygen.program.program import Program, Tally
from raygen.steps.row.record import Record
from raygen.steps.row.usable import fault_of
from tests.steps.row.test_record import stored
from tests.steps.scripted import Judge, Writer, job_of, run

GENERATE = {"generate": {"model": "writer", "prompt": "About {{ text }}"}}
CALLS = json.dumps([{"id": "1", "function": {"name": "f", "arguments": "{}"}}])


class Says(Writer):
    """Says these samples, one a prompt."""

    def __init__(self, **samples: GeneratedSample) -> None:
        super().__init__(lambda prompt, n: "")
        self._samples = samples

    async def generate(self, request: GenerateRequest) -> GenerateResult:
        self.asked.append(request)
        word = request.messages[-1]["content"].split()[0]
        return GenerateResult([self._samples.get(word, GeneratedSample("5. fine", "stop", 2))], 3)


NO_ANSWERS = [
    (GeneratedSample("", "stop", 0), "empty_output", "there is no text"),
    (GeneratedSample(" \n", "length", 3), "empty_output", "there is no text"),
    (GeneratedSample("", "content_filter", 0), "content_filter", "there is no text"),
    (GeneratedSample("9 of 10, for it", "content_filter", 4), "content_filter", "is a part of a text"),
    (GeneratedSample("", "stop", 0, refusal="I can't help"), "refused", "the model refuses: I can't help"),
    (GeneratedSample("9", "stop", 1, refusal="I can't help"), "refused", "I can't help"),
    (GeneratedSample("", "tool_calls", 9, tool_calls=CALLS), "tool_calls", "calls a tool"),
    (GeneratedSample("", "tool_calls", 9), "tool_calls", "calls a tool"),
    (GeneratedSample("", "length", 9, tool_calls=CALLS), "tool_calls", "may have been cut off"),
    (GeneratedSample("", "stop", 9, tool_calls=CALLS, reasoning="hm"), "tool_calls", "calls a tool"),
    (GeneratedSample("", "length", 1024, reasoning="9, or"), "only_reasoning", r"max_tokens \(1,024 tokens\) went into"),
    (GeneratedSample("", "length", None, reasoning="9, or"), "only_reasoning", "max_tokens went into reasoning"),
    (GeneratedSample("", "stop", 4, reasoning="9"), "only_reasoning", "no text after it"),
]  # fmt: skip


@pytest.mark.parametrize(("sample", "reason", "finding"), NO_ANSWERS)
def test_what_is_no_answer_is_rejected_and_kept(sample: GeneratedSample, reason: str, finding: str) -> None:
    found = run(job_of(GENERATE), Says(About=sample), text="rain")
    assert (found.status, found.reason) == ("rejected", reason)
    assert finding.replace("\\", "") in found.attempts[-1]["detail"]
    [kept] = found.samples
    assert (kept["text"], kept["finish_reason"]) == (sample.text, sample.finish_reason)
    assert (kept["reasoning"], kept["refusal"]) == (sample.reasoning, sample.refusal)
    assert kept["tool_calls"] == sample.tool_calls


@pytest.mark.parametrize(
    "sample",
    [
        GeneratedSample("a text", "stop", 2, reasoning="hm", tool_calls=CALLS),
        GeneratedSample("a text", "tool_calls", 2, tool_calls=CALLS),
        GeneratedSample("a te", "length", 2),
        GeneratedSample("a text", "unknown", None),
    ],
)
def test_a_text_is_an_answer_whatever_stands_beside_it(sample: GeneratedSample) -> None:
    assert fault_of(sample) is None
    found = run(job_of(GENERATE), Says(About=sample), text="rain")
    assert found.status == "accepted"
    [kept] = found.samples
    assert [kept[name] for name in ("text", "reasoning", "tool_calls")] == [
        sample.text, sample.reasoning, sample.tool_calls,
    ]  # fmt: skip


@pytest.mark.parametrize("word", ["error", "abort", "nonsense"])
def test_a_fragment_fails_its_row_whatever_engine_gave_it(word: str) -> None:
    found = run(job_of(GENERATE), Says(About=GeneratedSample("The capital is Pa", word, 4)), text="rain")
    assert (found.status, found.reason) == ("failed", "bad_answer")
    assert repr(word) in found.error["message"]  # type: ignore[index]


def test_servers_words_are_kept_in_one_form() -> None:
    for word, kept in (("eos_token", "stop"), ("MAX_TOKENS", "length")):
        found = run(job_of(GENERATE), Says(About=GeneratedSample("a text", word, 4)), text="rain")
        assert found.samples[0]["finish_reason"] == kept


@pytest.mark.parametrize(("sample", "reason", "finding"), NO_ANSWERS)
def test_no_answer_of_a_judge_is_a_verdict(sample: GeneratedSample, reason: str, finding: str) -> None:
    judge = {
        "verify": {
            "judge": {"model": "other", "prompt": "Judge {{ sample }}", "pattern": r"(\d)", "at_least": 3}
        }
    }
    found = run(job_of(GENERATE, judge), Says(Judge=sample), text="rain")
    assert (found.status, found.reason) == ("rejected", "no_verdict")
    assert "the judge gives no answer: " in found.attempts[-1]["detail"]
    assert (
        run(job_of(GENERATE, judge), Says(Judge=GeneratedSample("9", "stop", 1)), text="rain").status
        == "accepted"
    )


@pytest.mark.parametrize(("sample", "reason", "finding"), NO_ANSWERS)
def test_no_answer_is_a_part_of_a_question(sample: GeneratedSample, reason: str, finding: str) -> None:
    split = {
        "decompose": {
            "model": "writer", "prompt": "Split {{ text }}",
            "answer": {"prompt": "Part {{ part }}"}, "pattern": r"(?m)^(.+)$",
        }
    }  # fmt: skip
    found = run(job_of(split, GENERATE), Says(Split=sample), text="rain")
    assert (found.status, found.reason) == ("rejected", "no_parts")
    found = run(job_of(split, GENERATE), Says(Part=sample), text="rain")
    assert (found.status, found.reason) == ("rejected", "no_part_answer")
    assert found.attempts[-1]["detail"].startswith("part 1 got no answer: ")


def again(job: Any, record: Any, writer: Writer) -> tuple[Any, Tally]:
    tally = Tally()
    engines = {"writer": writer, "other": writer, "nli": Judge(lambda premise, hypothesis: 1.0)}
    return asyncio.run(Program(job).run(engines, "r1", {"text": "rain"}, None, tally, record)), tally


@pytest.mark.parametrize(("sample", "reason", "finding"), NO_ANSWERS)
def test_a_record_gives_back_what_came_beside_the_text(
    sample: GeneratedSample, reason: str, finding: str
) -> None:
    judge = {
        "verify": {
            "judge": {"model": "other", "prompt": "Judge {{ sample }}", "pattern": r"(\d)", "at_least": 3}
        }
    }
    for job, writer in (
        (job_of(GENERATE), Says(About=sample)),
        (job_of(GENERATE, judge), Says(Judge=sample)),
    ):
        first = run(job, writer, text="rain")
        second, spent = again(job, stored(first).of("r1"), Says())
        assert (spent.calls, spent.reused) == (0, len(writer.asked))
        assert (second.samples, second.attempts, second.calls) == (first.samples, first.attempts, first.calls)


def test_a_fragment_that_an_older_version_took_is_asked_for_again() -> None:
    first = run(job_of(GENERATE), Says(About=GeneratedSample("The capital is Pa", "stop", 4)), text="rain")
    first.samples[0]["finish_reason"] = "error"
    second, spent = again(job_of(GENERATE), stored(first).of("r1"), Says())
    assert (spent.calls, second.samples[0]["text"]) == (1, "5. fine")


def test_log_probabilities_that_were_not_given_are_not_asked_for_again() -> None:
    job = job_of({"generate": {**GENERATE["generate"], "sampling": {"logprobs": 1}}})
    first = run(job, Says(), text="rain")
    assert first.samples[0]["logprobs"] is None
    _, spent = again(job, stored(first).of("r1"), Says())
    assert (spent.calls, spent.reused) == (0, 1)


def test_a_record_of_an_older_version_is_read() -> None:
    value = json.dumps([{"text": "5", "finish_reason": "stop", "output_tokens": 1, "logprobs": None}])
    held = {"key": "k", "model": "m", "tokens": 3, "value": value}
    request = GenerateRequest("r", [], job_of(GENERATE).steps[0].config.sampling, [1])
    found = Record({"samples": [], "discarded": [], "calls": [held]}).generated("k", request)
    assert found == GenerateResult([GeneratedSample("5", "stop", 1)], 3)


TOOL = {"type": "function", "function": {"name": "f"}}


def test_calling_a_tool_is_an_answer_where_the_model_was_told_of_one() -> None:
    told = {"generate": {**GENERATE["generate"], "tools": [TOOL]}}
    sample = GeneratedSample("", "tool_calls", 9, tool_calls=CALLS)
    found = run(job_of(told), Says(About=sample), text="rain")
    assert (found.status, found.samples[0]["tool_calls"]) == ("accepted", CALLS)
    named = {"generate": {**GENERATE["generate"], "tools": "given"}}
    for given, status in (([TOOL], "accepted"), ([], "rejected"), (None, "rejected")):
        assert run(job_of(named), Says(About=sample), text="rain", given=given).status == status
    nothing = GeneratedSample("", "tool_calls", 9)
    assert run(job_of(told), Says(About=nothing), text="rain").reason == "tool_calls"


def test_a_refinement_is_told_of_the_same_tools() -> None:
    told = {"generate": {**GENERATE["generate"], "tools": "given"}}
    model = Says()
    steps = (
        told,
        {"verify": {"matches": {"pattern": "never"}}},
        {"refine": {"prompt": "Mend {{ sample }}", "budget": 1}},
    )
    run(job_of(*steps), model, text="rain", given=[TOOL])
    assert [request.tools for request in model.asked] == [[TOOL], [TOOL]]
