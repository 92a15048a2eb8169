"""The record: an outcome holds all answers that a row got from engines, bit for bit, and gives them back."""

from __future__ import annotations

import asyncio
import io
import math
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings

from raygen.config.sampling import Sampling
from raygen.engines.requests import (
    ClassifyRequest,
    ClassifyResult,
    GeneratedSample,
    GenerateRequest,
    GenerateResult,
    TokenLogprob,
)
from raygen.errors import RowError
from raygen.program.program import Program, Tally
from raygen.runs.commit import encode_data
from raygen.runs.outcome import Outcome, outcome_table
from raygen.steps.row.calls import Calls
from raygen.steps.row.record import Record, RecordedRows
from tests.runs.made import LINEAGE
from tests.steps.scripted import Judge, Writer, job_of, run

GENERATE = {"generate": {"model": "writer", "prompt": "About {{ text }}", "samples": 3}}
CHECKED = {"verify": {"entailment": {"model": "nli", "premise": "{{ text }}", "threshold": 0.8}}}
REFINED = {"refine": {"prompt": "{{ sample }} | {{ finding }}", "budget": 2, "until": 3}}


def stored(*outcomes: Outcome) -> RecordedRows:
    """What is read of outcomes that were written to a run."""
    return RecordedRows([pq.read_table(io.BytesIO(encode_data(outcome_table(outcomes, LINEAGE, {}))))])


def again(job: Any, known: Record | None, writer: Any, judge: Any, **row: Any) -> tuple[Outcome, Tally]:
    engines, tally = {"writer": writer, "other": writer, "nli": judge}, Tally()
    return asyncio.run(Program(job).run(engines, "r1", row, None, tally, known)), tally


def odd(premise: str, hypothesis: str) -> float:
    return math.pi / (4 + len(hypothesis))


@pytest.mark.parametrize("threshold", [0.0, 0.4, 1.0])
def test_a_row_is_told_again_without_asking_anybody(threshold: float) -> None:
    checked = {"verify": {"entailment": {**CHECKED["verify"]["entailment"], "threshold": threshold}}}
    job = job_of(GENERATE, checked, REFINED, {"select": {"first": 1}})
    writer, judge = Writer(lambda prompt, n: f"{'long ' * n}{len(prompt)}"), Judge(odd)
    first, spent = again(job, None, writer, judge, text="rain")
    asked = len(writer.asked) + len(judge.asked)
    assert (spent.calls, spent.reused) == (asked, 0)
    second, tally = again(job, stored(first).of("r1"), writer, judge, text="rain")
    assert second == first
    assert len(writer.asked) + len(judge.asked) == asked
    assert (tally.calls, tally.reused) == (0, asked)
    assert tally.usage == {}


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0, 1, width=64), min_size=1, max_size=4), st.floats(allow_nan=False, max_value=0))
def test_numbers_come_back_bit_for_bit(chances: list[float], logprob: float) -> None:
    class Exact(Judge):
        async def classify(self, request: ClassifyRequest) -> ClassifyResult:
            named = [{"entailment": p, "other": 1 - p} for p in chances]
            return ClassifyResult(named, np.zeros((len(named), 2), np.float32), 7)

    class Sure(Writer):
        async def generate(self, request: GenerateRequest) -> GenerateResult:
            self.asked.append(request)
            tokens = [TokenLogprob(5, "tök", logprob, [(None, "\n", logprob)]), TokenLogprob(None, "", 0.0)]
            return GenerateResult([GeneratedSample("x", "length", 2, [5, 6], tokens)], 3)

    request = GenerateRequest("r", [{"role": "user", "content": "?"}], Sampling(logprobs=1), [9])
    calls = Calls({"writer": Sure(lambda p, n: ""), "nli": Exact(odd)}, {})
    key, result = asyncio.run(calls.generate("writer", request))
    asyncio.run(calls.classify("nli", "r", ["a"] * len(chances)))
    record = stored(Outcome("r", "accepted", calls=calls.made(set()))).of("r")
    assert record is not None
    told = record.generated(key, request)
    assert told is not None
    assert told.prompt_tokens == 3
    assert told.samples[0].logprobs == result.samples[0].logprobs
    assert (told.samples[0].text, told.samples[0].finish_reason, told.samples[0].output_tokens) == (
        "x",
        "length",
        2,
    )
    found = record.classified(calls.key("classify", "nli", ["a"] * len(chances)))
    assert found == ([{"entailment": p, "other": 1 - p} for p in chances], 7)


def held(**changes: Any) -> dict[str, Any]:
    return {"call": "k", "index": 0, "text": "t", "finish_reason": "stop", "logprobs": None,
            "usage": {"prompt_tokens": 4, "output_tokens": 1}, **changes}  # fmt: skip


def asking(samples: int) -> GenerateRequest:
    return GenerateRequest("r", [], Sampling(), list(range(samples)))


def test_samples_come_in_their_order_from_wherever_they_went() -> None:
    record = Record(
        {
            "samples": [held(index=2, text="c"), held(index=0, text="a")],
            "discarded": [held(index=1, text="b"), held(call="other")],
        }
    )
    found = record.generated("k", asking(3))
    assert found is not None
    assert [sample.text for sample in found.samples] == ["a", "b", "c"]
    assert found.prompt_tokens == 4


@pytest.mark.parametrize(
    ("row", "request_"),
    [
        ({"samples": [held()]}, asking(2)),  # a sample is missing
        ({"samples": [held(), held(index=1)]}, asking(1)),
        ({"samples": [held(call=None)]}, asking(1)),
        ({"samples": [held(text=None)]}, asking(1)),
        ({"samples": [held(finish_reason="error")]}, asking(1)),  # a fragment
        ({}, asking(1)),
        ({"samples": None, "discarded": None, "calls": None}, asking(1)),
    ],
)
def test_half_an_answer_is_none(row: dict[str, Any], request_: GenerateRequest) -> None:
    assert Record(row).generated("k", request_) is None
    assert Record(row).classified("k") is None


def test_calls_without_a_sample_of_their_own_are_kept_too() -> None:
    """Such as those of a model that judges."""
    writer, judge = Writer(lambda prompt, n: "said"), Judge(odd)
    calls = Calls({"writer": writer, "nli": judge}, {})

    async def ask(calls: Calls) -> list[dict[str, Any]]:
        mine, _ = await calls.generate("writer", asking_for("mine"))
        await calls.generate("writer", asking_for("a verdict"))
        await calls.classify("nli", "r", [("a", "b")])
        await calls.classify("nli", "r", [("a", "b")])
        await calls.classify("nli", "r", [])
        return calls.made({mine})

    made = asyncio.run(ask(calls))
    assert sorted((call["model"], call["tokens"]) for call in made) == [("nli", 10), ("writer", 2)]
    assert [call["key"] for call in made] == sorted(call["key"] for call in made)
    record = stored(Outcome("r", "accepted", calls=made)).of("r")
    second = Calls({"writer": writer, "nli": judge}, {}, known=record)
    writer.asked.clear()
    assert asyncio.run(ask(second)) == made
    assert [request.messages[0]["content"] for request in writer.asked] == ["mine"]
    assert (second.computed, second.reused) == (1, 3)


def asking_for(text: str) -> GenerateRequest:
    return GenerateRequest("r", [{"role": "user", "content": text}], Sampling(), [1])


def test_what_a_row_got_before_it_failed_is_recorded() -> None:
    class Broken(Judge):
        async def classify(self, request: ClassifyRequest) -> ClassifyResult:
            if len(self.asked) == 1:
                raise RowError("text_too_long", "too long")
            return await super().classify(request)

    twice = {"name": "twice", "verify": {"entailment": {"model": "nli", "premise": "{{ text }} again"}}}
    failed = run(
        job_of(GENERATE, twice, CHECKED), Writer(lambda p, n: "good"), Broken(lambda p, h: 1.0), text="x"
    )
    assert (failed.status, len(failed.discarded), len(failed.calls)) == ("failed", 3, 1)
    writer, judge = Writer(lambda p, n: "never asked"), Judge(lambda p, h: 1.0)
    mended, tally = again(job_of(GENERATE, twice, CHECKED), stored(failed).of("r1"), writer, judge, text="x")
    assert (mended.status, writer.asked, len(judge.asked)) == ("accepted", [], 1)
    assert (tally.reused, tally.calls) == (2, 1)


def test_rows_and_columns_that_are_not_there_have_no_record() -> None:
    rows = stored(Outcome("a", "failed", "why"), Outcome("b", "failed", "why"))
    assert rows.of("c") is None
    assert RecordedRows().of("a") is None
    assert RecordedRows(note="why").note == "why"
    older = RecordedRows([outcome_table([Outcome("a", "failed")], LINEAGE, {}).drop_columns(["calls"])])
    record = older.of("a")
    assert record is not None
    assert record.classified("k") is None
