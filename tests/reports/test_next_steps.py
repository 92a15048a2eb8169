"""A retry is offered for what may pass; for what can only fail again it is said what to do first."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from raygen.reports.next_steps import reasoning_in_texts, steps_for
from tests.review.traced_run import ECHO, traced_run

SHOW = "see why rows failed: raygen show runs/x --status failed"


def test_what_may_pass_is_offered_again():
    lines = steps_for(Counter({"timeout": 2, "endpoint_unavailable": 1200}), "runs/x", sampled=False)
    assert lines == [
        SHOW,
        "endpoint_unavailable (1,200), timeout (2) may pass: raygen retry runs/x --errors-only",
    ]


def test_a_broken_input_is_not():
    lines = steps_for(Counter({"broken_json": 3, "kept_type": 1}), "runs/x", sampled=False)
    assert lines[0] == SHOW
    assert "retry" not in " ".join(lines)
    assert lines[1] == (
        "broken_json (3) would fail again. Correct the line in the input: it is not valid JSON. "
        "Then run the job on the mended input: raygen run JOB --output NEW --reuse runs/x"
    )


def test_what_another_job_may_mend():
    (_, line) = steps_for(Counter({"prompt_too_long": 3}), "runs/x", sampled=True)
    assert line.startswith("prompt_too_long would fail again. Shorten the template")
    assert line.endswith("Then raygen retry runs/x --errors-only --set ...")


def test_what_the_input_or_the_job_may_mend():
    """A retry reads the input as it was; so a filled column needs a new run, which takes over the other rows."""
    (_, line) = steps_for(Counter({"missing_value": 3}), "runs/x", sampled=False)
    assert line == (
        "missing_value (3) would fail again. Give the template a fallback such as `{{ title or 'untitled' }}`. "
        "Then raygen retry runs/x --errors-only --set ...; "
        "or fill the column, then raygen run JOB --output NEW --reuse runs/x"
    )


def test_many_codes_are_not_all_explained():
    lines = steps_for(Counter({f"code_{n}": 9 - n for n in range(8)}), "runs/x", sampled=False)
    assert len(lines) == 7
    assert lines[-1] == "others would fail again, too: code_5, code_6, code_7"


@pytest.mark.parametrize(
    ("text", "tags", "told"),
    [
        ("<think>hm</think>7", None, True),
        (" \n<think>cut off", None, True),
        ("7, <think> as I do", None, False),
        ("<think>hm</think>7", True, False),
    ],
)
def test_reasoning_that_nobody_took_off_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, tags: bool | None, told: bool
) -> None:
    monkeypatch.setattr("raygen.engines.echo.echo_text", lambda *_: text)
    steps = [{"generate": {"model": "writer", "prompt": "x"}}]
    uri = traced_run(tmp_path, steps, rows=2, models={"writer": {**ECHO, "reasoning_tags": tags}})
    assert [line[:26] for line in reasoning_in_texts(uri)] == ["texts begin with <think>: "] * told
