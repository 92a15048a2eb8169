"""Reasoning between tags: told apart from the answer, whoever wrote it, and never taken for one."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from raygen.engines.reasoning import ReasoningStream, told_apart
from raygen.engines.requests import GeneratedSample
from raygen.program.job import Job
from raygen.program.resolve import identity_of
from tests.steps.row.test_usable import Says
from tests.steps.scripted import ECHO, NLI, Writer, job_of, run

TAGS = ("<think>", "</think>")
THINKS = {**ECHO, "reasoning_tags": True}


def job(*steps: dict[str, Any], **model: Any) -> Job:
    return job_of(*steps, models={"writer": {**THINKS, **model}, "other": THINKS, "nli": NLI})


@pytest.mark.parametrize(
    ("text", "finish", "answer", "reasoning"),
    [
        ("<think>hm</think>6", "stop", "6", "hm"),
        ("\n<think>\nhm\n</think>\n\n6\n", "stop", "\n6\n", "hm"),
        ("<think>\n\n</think>\n\n6", "stop", "6", None),
        ("so\nhm\n</think>\n\n6", "stop", "6", "so\nhm"),  # the template has opened it
        ("</think>6", "stop", "6", None),
        ("<think>a</think>use <think>b</think> tags", "stop", "use <think>b</think> tags", "a"),
        ("Well. <think>hm</think> 6", "stop", "Well. 6", "hm"),
        ("<think>hm, it is", "length", "", "hm, it is"),
        ("<think>hm, it is", "stop", "", "hm, it is"),
        ("hm, it is", "length", "", "hm, it is"),
        ("hm, it is", "stop", "hm, it is", None),
        ("<think>hm</think>6 and", "length", "6 and", "hm"),
        ("<think>hm</think>", "length", "", "hm"),
    ],
)
def test_it_is_told_apart(text: str, finish: str, answer: str, reasoning: str | None) -> None:
    found = told_apart(GeneratedSample(text, finish, 9), TAGS)
    assert (found.text, found.reasoning, found.output_tokens) == (answer, reasoning, 9)


def test_what_the_endpoint_told_apart_stays() -> None:
    cut = GeneratedSample("6 and", "length", 9, reasoning="hm")
    assert told_apart(cut, TAGS) is cut
    both = told_apart(GeneratedSample("<think>b</think>6", "stop", 9, reasoning="a"), TAGS)
    assert (both.text, both.reasoning) == ("6", "a\n\nb")


def test_answers_and_constraints_see_the_answer_alone() -> None:
    step = {"generate": {"model": "writer", "prompt": "x", "answer": {"json_field": "a"}}}
    texts = ['<think>{"a": 1}?</think>\n{"a": 6}']
    found = run(job(step), Writer(lambda prompt, n: texts[n]))
    [kept] = found.samples
    assert (kept["text"], kept["answer"], kept["reasoning"]) == ('{"a": 6}', "6", '{"a": 1}?')
    limited = {"generate": {"model": "writer", "prompt": "x", "constraint": {"choice": ["yes", "no"]}}}
    endpoint = {
        "engine": "openai",
        "ref": "m",
        "options": {"base_url": "http://x/v1", "structured_outputs": True},
    }
    found = run(job(limited, **endpoint), Writer(lambda prompt, n: "hm, no. </think>\n\nyes"))
    assert found.status == "rejected" or found.samples[0]["text"] == "yes"
    assert found.status == "accepted"


def test_reasoning_without_an_end_is_no_answer() -> None:
    step = {"generate": {"model": "writer", "prompt": "About x"}}
    cut = GeneratedSample("<think>so the answer", "length", 16)
    found = run(job(step), Says(About=cut))
    assert (found.status, found.reason) == ("rejected", "only_reasoning")
    assert "max_tokens (16 tokens) went into reasoning" in found.attempts[-1]["detail"]
    assert (found.samples[0]["text"], found.samples[0]["reasoning"]) == ("", "so the answer")


def test_judges_and_parts_are_read_without_it() -> None:
    judge = {
        "verify": {
            "judge": {"model": "other", "prompt": "Judge {{ sample }}", "pattern": r"(\d)", "at_least": 3}
        }
    }
    step = {"generate": {"model": "writer", "prompt": "About x"}}
    found = run(job(step, judge), Says(Judge=GeneratedSample("2?</think>is it 9", "stop", 9)))
    assert found.attempts[-1]["detail"] == "is it 9"
    assert run(job(step, judge), Says(Judge=GeneratedSample("<think>9", "length", 9))).reason == "no_verdict"


def test_tags_of_ones_own() -> None:
    step = {"generate": {"model": "writer", "prompt": "x"}}
    found = run(
        job(step, reasoning_tags=["[THINK]", "[/THINK]"]), Writer(lambda prompt, n: "[THINK]hm[/THINK]6")
    )
    assert (found.samples[0]["text"], found.samples[0]["reasoning"]) == ("6", "hm")


def test_without_them_a_text_stays_as_it_is() -> None:
    step = {"generate": {"model": "writer", "prompt": "x"}}
    plain = job_of(step)
    found = run(plain, Writer(lambda prompt, n: "<think>hm</think>6"))
    assert found.samples[0]["text"] == "<think>hm</think>6"
    assert "reasoning_tags" not in plain.identity()["models"]["writer"]
    spec = plain.models["writer"]
    from raygen.models.resolved import ResolvedModel

    names = [
        identity_of(ResolvedModel("m", each, None, "d"), frozenset())
        for each in (spec, spec.model_copy(update={"reasoning_tags": True}))
    ]
    assert "reasoning_tags" not in names[0]
    assert names[1] == {**names[0], "reasoning_tags": TAGS}


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        (["", "x"], "two texts that differ"),
        (["x", "x"], "two texts that differ"),
        (["x"], r"two texts that differ; or true"),
        (False, r"two texts that differ; or true"),
    ],
)
def test_bad_tags_are_refused(tags: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        job({"generate": {"model": "writer", "prompt": "x"}}, reasoning_tags=tags)
    with pytest.raises(ValidationError, match="only of models that write"):
        job_of(
            {"generate": {"model": "writer", "prompt": "x"}},
            models={"writer": ECHO, "nli": {**NLI, "reasoning_tags": True}},
        )


@pytest.mark.parametrize("size", [1, 2, 3, 5, 1000])
@pytest.mark.parametrize("finish", ["stop", "length"])
@pytest.mark.parametrize(
    "text",
    [
        "<think>\nso it is\n\n</think>\n\nyes, it  is ",
        " \n<think>a</think>b",
        "so it is </think> yes",
        "before <think>so</think> yes",
        "before <think>so",
        "<think>a</think>b<think>c</think>d",
        "<think>never closed </thin",
        "<think></think>",
        "<think> </think> \n",
        "no tags at all ",
        "<thin",
        "",
    ],
)
def test_a_stream_tells_apart_what_the_whole_text_does(text, finish, size):
    whole = told_apart(GeneratedSample(text, finish, 1), ("<think>", "</think>"))
    stream = ReasoningStream(("<think>", "</think>"))
    told = [stream.push(text[at : at + size]) for at in range(0, len(text), size)]
    told.append(stream.end(finish))
    assert "".join(reasoning for reasoning, _ in told) == (whole.reasoning or "")
    assert "".join(answer for _, answer in told) == whole.text


def test_a_thought_flows_while_it_comes():
    stream = ReasoningStream(("<think>", "</think>"))
    assert stream.push("<think>so ")[0] == "so"
    assert stream.push("it </th")[0] == " it"
    assert stream.push("at</think>x") == (" </that", "x")
