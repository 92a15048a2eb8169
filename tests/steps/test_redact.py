"""The redact step: personal data is gone from all that an outcome keeps; what it finds is measured on labelled sentences."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from raygen.data.text import pii
from raygen.engines.requests import GeneratedSample, GenerateRequest, GenerateResult, TokenLogprob
from raygen.errors import ConfigError, RowError
from raygen.pipeline.run import run_job
from raygen.program.job import Job
from raygen.program.program import Program, Tally
from raygen.program.retell import retell
from raygen.runs.outcome import Outcome
from raygen.steps.redact import Redact
from raygen.steps.row.record import Record
from tests.steps.scripted import Writer, job_of, run, story

GENERATE = {"generate": {"model": "writer", "prompt": "About {{ text }}"}}
REDACT = {"redact": {}}
TEXT = "Write to ana.silva@example.com or call +44 20 7946 0958, card 4111 1111 1111 1111."
CLEAN = "Write to <email> or call <phone>, card <credit_card>."
SECRETS = ("ana.silva", "example.com", "7946", "4111")


def plain(outcome: Outcome) -> str:
    """All that an outcome holds, but for the columns that the job keeps."""
    kept = {name: getattr(outcome, name) for name in outcome.__slots__ if name not in ("kept", "row_id")}
    return json.dumps(kept, default=str)


def assert_gone(outcome: Outcome, secrets: tuple[str, ...] = SECRETS) -> None:
    said = plain(outcome)
    assert not [secret for secret in secrets if secret in said]


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([GENERATE, {"redact": {"entities": ["person"]}}], "email"),
        ([GENERATE, {"redact": {"entities": []}}], "at least 1"),
        ([GENERATE, {"redact": {"entities": ["ip", "ip"]}}], "an entity stands there twice"),
        ([GENERATE, {"redact": {"with": "{name}"}}], "the only name in braces is {entity}"),
        ([GENERATE, {"redact": {"with": "x@{entity}"}}], "'@' could be taken for personal data"),
        ([REDACT, GENERATE], "steps.0.redact: there is no sample yet"),
        ([GENERATE, REDACT, GENERATE], "steps.1.redact: `generate` after it makes new text"),
        (
            [GENERATE, {"verify": {"length": {"at_least": 1}}}, REDACT, {"refine": {"prompt": "x"}}],
            "steps.2.redact: `refine` after it|steps.3.refine",
        ),
    ],
)
def test_bad_steps_are_refused(steps: list[dict], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        job_of(*steps)


def test_a_job_is_read_again_as_it_was_written() -> None:
    job = job_of(GENERATE, {"redact": {"with": "[gone]"}})
    dumped = job.model_dump(mode="json", exclude_none=True)
    assert dumped["steps"][1]["redact"]["with"] == "[gone]"
    assert Job.model_validate(dumped) == job


def test_without_the_extra_a_run_is_refused_before_work(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("raygen.extras.find_spec", lambda name: None)
    job = job_of(GENERATE, REDACT).model_copy(update={"output": str(tmp_path / "run")})
    with pytest.raises(ConfigError, match=r"pip install 'raygen\[redact\]'"):
        run_job(job, inline=True)
    assert not (tmp_path / "run" / "plan.json").exists()
    Program(job)  # for readers of a run the job is a job


@pytest.fixture(scope="module", autouse=True)
def _no_network() -> Any:
    """Nothing that is found here is found with the help of another machine."""
    with pytest.MonkeyPatch.context() as patch:

        def refuse(*args: Any, **kwargs: Any) -> Any:
            raise AssertionError("a look-up in the network")

        patch.setattr(socket, "getaddrinfo", refuse)
        patch.setattr(socket.socket, "connect", refuse)
        yield


@pytest.fixture
def presidio() -> None:
    pytest.importorskip("presidio_analyzer")


@pytest.mark.usefixtures("presidio")
class TestRedacted:
    def test_an_accepted_sample_is_redacted_and_the_finds_are_counted(self) -> None:
        found = run(job_of(GENERATE, REDACT), Writer(lambda prompt, n: TEXT), text="x")
        assert found.samples[0]["text"] == CLEAN
        assert story(found) == [("generate", 0, "generated"), ("redact", 0, "redacted")]
        decision = found.attempts[-1]
        assert decision["detail"] == "1 email, 1 phone, 1 credit_card"
        assert decision["scores"] == {"email": 1.0, "phone": 1.0, "credit_card": 1.0}
        assert_gone(found)

    def test_only_what_is_asked_for_goes(self) -> None:
        step = {"redact": {"entities": ["email"], "with": "[{entity} gone]"}}
        found = run(job_of(GENERATE, step), Writer(lambda prompt, n: TEXT), text="x")
        assert found.samples[0]["text"] == TEXT.replace("ana.silva@example.com", "[email gone]")

    def test_a_sample_without_finds_stays_as_it_is(self) -> None:
        found = run(job_of(GENERATE, REDACT), Writer(lambda prompt, n: "Rain fell."), text="x")
        assert (found.samples[0]["text"], story(found)[-1]) == ("Rain fell.", ("redact", 0, "passed"))
        assert found.samples[0]["call"] is not None

    def test_the_answer_and_variables_are_redacted_before_later_steps_see_them(self) -> None:
        job = job_of(
            {"generate": {"model": "writer", "prompt": "a", "into": "first"}},
            {"generate": {"model": "writer", "prompt": "b", "answer": {"pattern": r"SSN (\S+)"}}},
            REDACT,
            {"verify": {"equals": {"expected": "<ssn> {{ first }}"}}},
        )
        texts = {"a": TEXT, "b": "his SSN 536-22-8726"}
        found = run(job, Writer(lambda prompt, n: texts[prompt]))
        assert found.variables == {"first": CLEAN}
        assert found.discarded[0]["text"] == CLEAN
        assert found.attempts[-1]["detail"] == "the answer '<ssn>' is wrong"
        assert_gone(found, (*SECRETS, "8726"))

    def test_later_steps_compare_with_redacted_variables(self) -> None:
        job = job_of(
            {"generate": {"model": "writer", "prompt": "a", "into": "first"}},
            GENERATE,
            REDACT,
            {"verify": {"equals": {"expected": "{{ first }}"}}},
        )
        assert run(job, Writer(lambda prompt, n: TEXT), text="x").status == "accepted"

    def test_rows_that_never_come_to_the_step_are_redacted_too(self) -> None:
        never = {"verify": {"matches": {"pattern": "never"}}}
        into = {"generate": {"model": "writer", "prompt": "a", "into": "first"}}
        found = run(job_of(into, GENERATE, never, REDACT), Writer(lambda prompt, n: TEXT), text="x")
        assert (found.status, found.variables) == ("rejected", {"first": CLEAN})
        assert_gone(found)
        refine = {"refine": {"prompt": "{{ sample }}", "budget": 2}}
        found = run(job_of(GENERATE, never, refine, REDACT), Writer(lambda prompt, n: TEXT), text="x")
        assert found.status == "rejected"
        assert [each["text"] for each in (*found.samples, *found.discarded)] == [CLEAN] * 3
        assert_gone(found)

    def test_rows_that_fail_are_redacted_with_their_message(self) -> None:
        job = job_of(GENERATE, {"verify": {"equals": {"expected": "{{ missing }}"}}}, REDACT)
        found = run(job, Writer(lambda prompt, n: TEXT), text="x", **{TEXT: 1})
        assert (found.status, found.error["step"]) == ("failed", "verify")
        assert found.discarded[0]["text"] == CLEAN
        assert "the row has: text, Write to <email>" in found.error["message"]
        assert_gone(found)

    def test_details_that_quote_are_redacted_also_where_the_quotation_is_cut(self) -> None:
        schema = {"verify": {"json_schema": {"type": "object", "properties": {"to": {"enum": ["nobody"]}}}}}
        said = json.dumps({"to": TEXT})
        found = run(job_of(GENERATE, schema, REDACT), Writer(lambda prompt, n: said), text="x")
        assert "<email>" in found.attempts[-1]["detail"]
        assert_gone(found)
        step = Program(job_of(GENERATE, REDACT)).steps[1]
        seen = type(
            "Seen", (), {"gone": {"ana.silva@example.com": "<email>", "+44 20  7946 0958": "<phone>"}}
        )
        for cut in (
            "says: ana.sil ... ",
            "says: ana.silva@exampl...",
            " ... mple.com is wrong",
            "at +44 20 79...",
            "to ana.silva@exam",
        ):
            kept = step._quoted(cut, seen)  # type: ignore[attr-defined]
            assert "<email>" in kept or "<phone>" in kept
            assert not any(part in kept for part in ("ana", "mple", "44"))

    def test_tokens_and_recorded_calls_do_not_spell_it_out(self) -> None:
        class Spelling(Writer):
            async def generate(self, request: GenerateRequest) -> GenerateResult:
                tokens = [TokenLogprob(n, word, -0.1, []) for n, word in enumerate(TEXT.split())]
                return GenerateResult([GeneratedSample(TEXT, "stop", 3, logprobs=tokens)], 2)

        never = {"verify": {"matches": {"pattern": "never"}}}
        for steps in ([GENERATE, REDACT], [GENERATE, never, REDACT]):
            found = run(job_of(*steps), Spelling(lambda prompt, n: ""), text="x")
            assert found.samples[0]["logprobs"] is None
            assert found.calls == []
            assert_gone(found)

    def test_what_came_beside_a_text_is_redacted_too(self) -> None:
        mail, card = "ana.silva@example.com", "4111 1111 1111 1111"
        calls = [{"function": {"name": "send", "arguments": json.dumps({"to": f"é\n{mail}", "n": 4})}}]

        class Thinking(Writer):
            async def generate(self, request: GenerateRequest) -> GenerateResult:
                said = GeneratedSample("Done.", "stop", 3, reasoning=f"I write to {mail}", refusal=None)
                said.tool_calls = json.dumps(calls)
                if request.messages[-1]["content"] != "About x":
                    said = GeneratedSample("", "stop", 3, refusal=f"Not with card {card}")
                return GenerateResult([said], 2)

        found = run(job_of(GENERATE, REDACT), Thinking(lambda prompt, n: ""), text="x")
        [sample] = found.samples
        assert (sample["text"], sample["reasoning"]) == ("Done.", "I write to <email>")
        [call] = json.loads(sample["tool_calls"])
        assert json.loads(call["function"]["arguments"]) == {"to": "é\n<email>", "n": 4}
        assert sample["call"] is None
        found = run(job_of(GENERATE, REDACT), Thinking(lambda prompt, n: ""), text="y")
        assert (found.reason, found.samples[0]["refusal"]) == ("refused", "Not with card <credit_card>")
        assert "<credit_card>" in found.attempts[-1]["detail"]
        assert_gone(found)

    def test_an_answer_of_a_judge_is_not_recorded_with_it(self) -> None:
        judge = {"verify": {"judge": {"model": "other", "prompt": "Is it kind? {{ sample }}", "at_least": 3}}}
        judged = f"{TEXT} Score: 5"
        writer = Writer(lambda prompt, n: "Rain." if prompt.startswith("About") else judged)
        found = run(job_of(GENERATE, judge, REDACT), writer, text="x")
        assert len(writer.asked) > 1
        assert_gone(found)

    def test_a_redacted_sample_is_not_reused_as_what_the_model_said(self) -> None:
        found = run(job_of(GENERATE, REDACT), Writer(lambda prompt, n: TEXT), text="x")
        assert found.samples[0]["call"] is None
        record = Record({"samples": found.samples, "discarded": [], "calls": found.calls})
        writer = Writer(lambda prompt, n: TEXT)
        engines = {"writer": writer, "other": writer, "nli": writer}
        again = asyncio.run(
            Program(job_of(GENERATE, REDACT)).run(engines, "r1", {"text": "x"}, None, Tally(), record)
        )
        assert len(writer.asked) == 1
        assert plain(again) == plain(found)

    def test_its_story_can_be_told_again_without_looking(self, monkeypatch: pytest.MonkeyPatch) -> None:
        job = job_of(GENERATE, REDACT)
        found = run(job, Writer(lambda prompt, n: TEXT), text="x")
        record = {name: getattr(found, name) for name in ("row_id", "samples", "discarded", "attempts")}
        monkeypatch.delattr("raygen.steps.redact.find_pii")
        told = retell(job, {}, record, {"text": "x"})
        assert told.problem is None
        assert [(each.request.messages[0]["content"], each.proven) for each in told.prompts] == [
            ("About x", None)
        ]

    def test_a_row_that_cannot_be_sealed_keeps_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        job = job_of(GENERATE, {"verify": {"matches": {"pattern": "never"}}}, REDACT)
        for error, code in (
            (RowError("redact_timeout", "too long"), "redact_timeout"),
            (OSError(TEXT), "internal_error"),
        ):

            def broken(text: str, entities: Any, error: Exception = error) -> Any:
                raise error

            monkeypatch.setattr("raygen.steps.redact.find_pii", broken)
            found = run(job, Writer(lambda prompt, n: TEXT), text="x")
            assert (found.status, found.reason, found.error["step"]) == ("failed", code, "redact")
            assert (found.samples, found.discarded, found.calls) == ([], [], [])
            assert_gone(found)

    def test_a_pattern_that_takes_too_long_fails_the_row(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Presidio goes on without the pattern, and says so in its log only."""
        module = "presidio_analyzer.pattern_recognizer"
        monkeypatch.setattr(f"{module}.REGEX_TIMEOUT_SECONDS", 1e-9)
        with pytest.raises(RowError, match="took too long") as caught:
            pii.find_pii("a.b-" * 5000, ["email"])
        assert caught.value.code == "redact_timeout"

    def test_what_overlaps_is_replaced_whole(self) -> None:
        (span,) = pii.find_pii("see https://user:secret@files.example.com:8080/x.zip now", Redact.ALL)
        assert (span.start, span.end) == (4, 52)

    def test_recall_and_precision_on_labelled_sentences(self) -> None:
        """What is found of each kind, and how much else: bounds below the measured figures, which the benchmark prints."""
        rows = [
            json.loads(line)
            for line in (Path(__file__).parent / "pii_labelled.jsonl").read_text().splitlines()
        ]
        assert len(rows) >= 120
        least = {
            "email": 0.9,
            "phone": 0.95,
            "credit_card": 0.95,
            "iban": 0.95,
            "ip": 0.95,
            "url": 0.95,
            "ssn": 0.95,
        }
        found = [pii.find_pii(row["text"], Redact.ALL) for row in rows]
        for entity, bound in least.items():
            wanted = [
                any(span.start <= want["start"] and span.end >= want["end"] for span in spans)
                for row, spans in zip(rows, found, strict=True)
                for want in row["entities"]
                if want["entity"] == entity
            ]
            assert sum(wanted) / len(wanted) >= bound, entity
        taken = sum(
            not any(span.start < want["end"] and want["start"] < span.end for want in row["entities"])
            for row, spans in zip(rows, found, strict=True)
            for span in spans
        )
        assert taken <= 10
