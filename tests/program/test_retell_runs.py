"""Whole runs told again: whatever the steps are, the prompts are those that were sent, and no model is asked anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import raygen
from raygen.engines.echo import EchoEngine
from raygen.engines.requests import GenerateRequest, GenerateResult
from raygen.review.trace import trace_row
from tests.review.traced_run import traced_run

ASK = {"generate": {"model": "writer", "prompt": "About: {{ text }}", "samples": 2, "into": "said"}}
THEN = {"generate": {"model": "writer", "prompt": "{{ said }} goes on"}}
MEND = {"refine": {"prompt": "{{ sample }}, but {{ finding }}", "budget": 3}}
PROGRAMS: dict[str, list[dict[str, Any]]] = {
    "consistency": [
        ASK,
        {
            "verify": {
                "consistency": {
                    "model": "nli",
                    "of": "sentences",
                    "against": "{{ text }}. So it is.",
                    "threshold": 0.4,
                }
            }
        },
        MEND,
        THEN,
    ],
    "judge": [
        ASK,
        {
            "verify": {
                "judge": {"model": "writer", "prompt": "Rate {{ sample }}", "pattern": r"(\d)", "at_least": 5}
            }
        },
        MEND,
        THEN,
    ],
    "by sentences": [
        ASK,
        {
            "verify": {
                "entailment": {
                    "model": "nli",
                    "premise": "{{ text }}. So it is.",
                    "by": "sentences",
                    "threshold": 0.5,
                }
            }
        },
        MEND,
        {"score": {"length": "words"}},
        {"filter": {"score": "score", "at_most": 5}},
        {"select": {"first": 1}},
        THEN,
    ],
    "decompose": [
        {
            "decompose": {
                "model": "writer",
                "prompt": "Parts of {{ text }}?",
                "pattern": r"\d+[a-f]",
                "most": 3,
                "answer": {"prompt": "{{ number }}. {{ part }} after {{ answered | length }}"},
            }
        },
        {"generate": {"model": "writer", "prompt": "{{ parts }}", "samples": 2}},
        {"verify": {"matches": {"pattern": "^[0-9]"}}},
    ],
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_prompts_are_those_that_were_sent(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, list[GenerateRequest]] = {}
    plain = EchoEngine.generate

    async def generate(self: EchoEngine, request: GenerateRequest) -> GenerateResult:
        asked.setdefault(request.row_id, []).append(request)
        return await plain(self, request)

    monkeypatch.setattr(EchoEngine, "generate", generate)
    uri = traced_run(tmp_path, PROGRAMS[name], rows=10)
    sent = {row_id: [each.messages for each in requests] for row_id, requests in asked.items()}
    asked.clear()
    statuses = set()
    for row in raygen.open_run(uri).to_arrow().to_pylist():
        trace = trace_row(uri, row["row_id"])
        prompts = [prompt for block in trace["steps"] for prompt in block["prompts"]]
        assert trace["notes"] == []
        assert [prompt["messages"] for prompt in prompts] == sent[row["row_id"]]
        # What a judge replied is no sample of the row's: there is nothing to prove its prompt by.
        judges = {block["step"] for block in trace["steps"] if "judge" in (block["config"] or {})}
        for block in trace["steps"]:
            proven = {prompt["proven"] for prompt in block["prompts"]}
            assert proven <= ({None} if block["step"] in judges else {True})
        statuses.add(row["status"])
    assert len(sent) == 10
    assert not asked
    assert "accepted" in statuses


def test_a_story_that_goes_another_way_says_from_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with a selection that a newer raygen makes otherwise."""
    steps = [ASK, {"select": {"first": 1}}, THEN]
    uri = traced_run(tmp_path, steps, rows=1)
    monkeypatch.setattr("raygen.steps.select.SelectStep._choose", lambda self, drafts, *_: (drafts[1:], None))
    [problem, differs] = trace_row(uri, "p0")["notes"]
    assert problem.startswith("prompts from step 'select' on may not be those that were sent")
    assert differs == "some prompts are not those that were sent: their digests differ"
