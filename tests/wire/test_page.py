"""What the page of served endpoints shows is taken, and what it lists is what the code does."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from raygen.wire.base import Served
from raygen.wire.chat import ChatCompletions
from raygen.wire.completions import Completions
from raygen.wire.parse import ignored_keys, parse_body
from raygen.wire.text.body import IGNORED
from raygen.wire.text.chat_body import REFUSED, ChatBody
from raygen.wire.text.completion_body import CompletionBody
from tests.fakes.text_models import saying

PAGE = (Path(__file__).parents[2] / "docs" / "serving-endpoints.md").read_text()
BODIES = [line for block in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]


@pytest.mark.parametrize("line", BODIES)
def test_each_body_is_taken(line):
    body = json.loads(line)
    endpoint = ChatCompletions() if "messages" in body else Completions()
    served: Served = saying("x")
    parsed = parse_body(endpoint, body)
    endpoint.check(parsed, served)
    assert ignored_keys(endpoint, parsed) is None


def test_every_key_is_on_the_page():
    for key in {*ChatBody.model_fields, *CompletionBody.model_fields} - {"model"}:
        assert f"`{key}" in PAGE, key


def test_what_changes_nothing_and_what_is_refused_stand_there():
    for word, keys in (("Without effect", IGNORED), ("Refused", REFUSED)):
        line = next(line for line in PAGE.splitlines() if line.startswith(f"**{word}**"))
        assert all(f"`{key}`" in line for key in keys)
