"""The pages under docs/ on data, chats and outcomes are true: examples are valid, codes and reasons are the code's."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from raygen.program.job import Job
from raygen.reports.remedies import REMEDIES
from raygen.runs.outcome import OWN_COLUMNS, SAMPLE

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
EXAMPLES = [
    pytest.param(block, id=f"{page}-{number}")
    for page in ("data", "chat")
    for number, block in enumerate(
        re.findall(r"```yaml\n(.*?)```", (DOCS / f"{page}.md").read_text(), re.DOTALL)
    )
]
REST: dict[str, Any] = {
    "name": "example",
    "source": {"format": "jsonl", "uri": "rows.jsonl"},
    "models": {"writer": {"family": "causal_lm", "engine": "echo"}},
    "steps": [{"generate": {"model": "writer", "prompt": "{{ text }}"}}],
}


@pytest.mark.parametrize("block", EXAMPLES)
def test_each_example_is_a_part_of_a_valid_job(block: str) -> None:
    Job.model_validate({**REST, **yaml.safe_load(block)})


def test_every_remedy_stands_on_the_page_of_outcomes() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.+) \|$", (DOCS / "outcomes.md").read_text(), re.MULTILINE)
    told = {code: words.replace("\\|", "|") for code, words in rows}
    assert {code: told.get(code) for code in REMEDIES} == REMEDIES


def test_the_columns_of_outcomes_are_on_the_page() -> None:
    page = (DOCS / "outcomes.md").read_text().split("## Rejected")[0]
    named = set(re.findall(r"`(\w+)`", page))
    assert set(OWN_COLUMNS) <= named
    assert {"text", "reasoning", "refusal", "tool_calls"} <= named & {each.name for each in SAMPLE}


def test_every_reason_of_the_page_is_one_that_the_code_gives() -> None:
    page = (DOCS / "outcomes.md").read_text().split("## Failed")[0]
    reasons = {
        name
        for first in re.findall(r"^\| (`.+?) \|", page, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", first)
    }
    code = "".join(path.read_text() for path in (ROOT / "raygen").rglob("*.py"))
    assert len(reasons) > 15
    assert [name for name in sorted(reasons) if f'"{name}"' not in code] == []


def test_every_reason_of_a_check_is_on_the_page() -> None:
    page = (DOCS / "outcomes.md").read_text()
    for path in (ROOT / "raygen" / "steps" / "checks").glob("*.py"):
        for reason in re.findall(r'^    reason = "(\w+)"', path.read_text(), re.MULTILINE):
            assert f"`{reason}`" in page, f"{reason} of {path.name}"


@pytest.mark.parametrize(
    "page", ["README.md", *(f"docs/{name}.md" for name in ("data", "chat", "outcomes", "endpoints"))]
)
def test_links_lead_to_files_and_headings_that_exist(page: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", (ROOT / page).read_text()):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        there = (ROOT / page).parent / name if name else ROOT / page
        assert there.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", there.read_text(), flags=re.MULTILINE)
            assert anchor in [re.sub(r"[^\w -]", "", each).lower().replace(" ", "-") for each in headings], (
                target
            )
