"""What a report shows of a row: all of the prompt that its sample answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from raygen.reports.cards import _as_sent
from raygen.reports.summary import report_data
from raygen.storage import open_store
from tests.review.traced_run import STEPS, traced_run


def test_a_prompt_is_shown_with_its_system_message(tmp_path: Path) -> None:
    rows = report_data(open_store(traced_run(tmp_path, STEPS[:1], rows=3))).samples
    assert {row.row_id: row.prompt for row in rows} == {
        f"p{n}": f"system: You know t{n}\n\nuser: About: passage {n} has some words" for n in range(3)
    }


@pytest.mark.parametrize(
    ("messages", "text"),
    [
        ([{"role": "user", "content": "Hi"}], "Hi"),
        (
            [
                {"role": "user", "content": "a"},
                {"role": "assistant", "content": "b"},
                {"role": "user", "content": "c"},
            ],
            "user: a\n\nassistant: b\n\nuser: c",
        ),
        (
            [
                {
                    "role": "user",
                    "content": [
                        {"type": "image_url", "image_url": {"url": "data:x"}},
                        {"type": "text", "text": "What?"},
                    ],
                }
            ],
            "[image_url]\nWhat?",
        ),
        ([{"role": "assistant", "content": None, "tool_calls": []}], ""),
    ],
)
def test_as_sent(messages: list[dict[str, Any]], text: str) -> None:
    assert _as_sent(messages) == text
