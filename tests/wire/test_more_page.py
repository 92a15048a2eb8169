"""What the page of the other endpoints shows is taken, and its lists are the code's."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from raygen.config.model import ModelSpec
from raygen.engines.echo import EchoEngine
from raygen.models.resolved import ResolvedModel
from raygen.steps.requested import ALLOWED, step_of
from raygen.wire import endpoint_at
from raygen.wire.base import Served
from raygen.wire.parse import ignored_keys, parse_body

PAGE = (Path(__file__).parents[2] / "docs" / "serving-more.md").read_text()
BODIES = [line for block in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
FAMILIES = {"minilm": "embedder", "nli": "classifier", "painter": "diffusion"}


def path_of(body: dict) -> str:
    """Return the endpoint that a body is for."""
    if "items" in body:
        return "/v1/evaluations"
    if "messages" in body:
        return "/v1/chat/completions"
    if "prompt" in body:
        return "/v1/images/generations"
    return "/v1/classifications" if body["model"] == "nli" else "/v1/embeddings"


@pytest.mark.parametrize("line", [line for line in BODIES if '"object"' not in line or '"items"' in line])
def test_each_body_is_taken(line):
    body = json.loads(line)
    endpoint = endpoint_at(path_of(body))
    name = body.get("model", "-")
    spec = ModelSpec(family=FAMILIES.get(name, "causal_lm"), engine="echo")
    model = ResolvedModel(name, spec, None, "d")
    parsed, served = parse_body(endpoint, body), Served(name, EchoEngine(model), model)
    endpoint.check(parsed, served)
    assert ignored_keys(endpoint, parsed) is None
    for kind in ALLOWED:
        if kind in body:
            step_of(kind, body[kind], body.get("model"), served, 0)


@pytest.mark.parametrize("kind", ALLOWED)
def test_all_checks_and_scores_are_listed(kind):
    row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{kind}` |"))
    assert set(re.findall(r"`(\w+)`", row)[1:]) == set(ALLOWED[kind])
