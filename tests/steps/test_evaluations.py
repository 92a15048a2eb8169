"""Evaluations over the wire: raygen's own checks, scores and metrics, an item at a time; nothing that reads or runs."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from raygen.config.model import ModelSpec
from raygen.engines.echo import EchoEngine
from raygen.models.resolved import ResolvedModel
from raygen.steps import evaluations
from raygen.steps.checks.length import LengthCheck
from raygen.steps.evaluations import Evaluations
from raygen.steps.requested import ALLOWED, REGISTRIES
from raygen.wire.base import Asked, Served
from raygen.wire.errors import ApiError
from raygen.wire.parse import parse_body


def nli() -> Served:
    model = ResolvedModel("nli", ModelSpec(family="classifier", engine="echo"), None, "d")
    return Served("nli", EchoEngine(model), model)


def deep(levels: int) -> dict:
    return {"properties": {"a": deep(levels - 1)}} if levels else {}


def asked(**body):
    endpoint, served = Evaluations(), nli()

    async def ask():
        await served.engine.start()
        parsed = parse_body(endpoint, body)
        endpoint.check(parsed, served)
        return (await endpoint.answer(parsed, served, Asked("r", 0, 0))).body

    return asyncio.run(ask())


def test_a_check_gives_a_verdict_for_every_item_and_their_sum():
    found = asked(check={"length": {"at_most": 2}}, items=[{"text": "a b"}, {"text": "a b c"}])
    assert [each["passed"] for each in found["data"]] == [True, False]
    assert found["data"][1]["reason"] == "length"
    assert found["aggregate"] == {"n": 2, "errors": 0, "passed": 1, "pass_rate": 0.5, "mean_score": 2.5}


def test_a_check_that_asks_a_model_names_it_once():
    given = {"entailment": {"premise": "{{ source }}"}}
    found = asked(model="nli", check=given, items=[{"text": "It rains.", "row": {"source": "It pours."}}])
    assert set(found["data"][0]["scores"]) == {"entailment", "neutral", "contradiction"}
    assert found["usage"]["encoded_tokens"] > 0


def test_a_score_gives_a_number():
    assert asked(score={"length": "words"}, items=[{"text": "a b c"}])["data"][0]["score"] == 3


def test_an_item_that_is_wrong_is_said_in_its_place():
    found = asked(check={"length": {}}, items=[{"row": {}}, {"text": "a"}])
    assert found["data"][0]["error"]["code"] == "missing_required_parameter"
    assert found["data"][1]["passed"]


def test_a_metric_over_labels():
    pytest.importorskip("sklearn")
    items = [{"label": "a", "prediction": "a"}, {"label": "b", "prediction": "a"}]
    assert asked(metric="classification", items=items)["metrics"]["accuracy"] == 0.5


@pytest.mark.parametrize(
    "body",
    [
        {"check": {"python": {"function": "os:system"}}},
        {"check": {"os:system": {}}},
        {"check": {"nothing": {}}},
        {"check": {"length": {"at_most": "x"}}},
        {"check": {"length": {"wish": 1}}},
        {"check": {}},
        {"check": {"length": {}, "language": {}}},
        {"check": {"length": None}},
        {"check": {"json_schema": {"type": "string", "title": "x" * 20_000}}},
        {"check": {"json_schema": deep(300)}},
        {"check": {"json_schema": {"$dynamicRef": "http://127.0.0.1:9/schema"}}},
        {"check": {"matches": {"pattern": "(" * 5000 + ")" * 5000}}},
        {"score": {"wordlist": {"path": "/etc/passwd"}}},
        {"score": {"raygen.steps.scores.wordlist:WordListScorer": {"words": ["a"]}}},
        {"model": "nli", "check": {"entailment": {"premise": "{{ 'a' * 10 ** 9 }}"}}},
        {"model": "nli", "check": {"entailment": {"premise": "{{ x | center(10000000) }}"}}},
        {"check": {"length": {}}, "score": {"length": "words"}},
        {"check": {"entailment": {"premise": "{{ x }}"}}},
        {"model": "nli", "check": {"entailment": {"premise": "{% for i in x %}{% endfor %}"}}},
        {"model": "nli", "check": {"judge": {"prompt": "{{ sample }}?", "pass_if": "yes"}}},
        {"metric": "none"},
        {},
    ],
)
def test_what_it_may_not_or_cannot_is_refused(body):
    with pytest.raises(ApiError) as caught:
        asked(**body, items=[{"text": "a"}])
    assert caught.value.status == 400


def test_what_is_taken_is_raygens_own_and_said_by_name():
    for kind, names in ALLOWED.items():
        assert set(names) <= set(REGISTRIES[kind].own)
        assert "python" not in names


def test_a_row_without_what_a_template_names_is_told_so():
    given = {"entailment": {"premise": "{{ source }}"}}
    found = asked(model="nli", check=given, items=[{"text": "a", "row": {"other": "b"}}])
    assert found["data"][0]["error"]["code"] == "missing_column"
    assert "'source' is undefined" in found["data"][0]["error"]["message"]
    assert found["aggregate"] == {"n": 0, "errors": 1}


def test_what_only_the_servers_log_is_to_know_stays_there(monkeypatch):
    async def broken(*_):
        raise KeyError("secret")

    monkeypatch.setattr(LengthCheck, "verdicts", broken)
    found = asked(check={"length": {}}, items=[{"text": "a"}])
    assert found["data"][0]["error"] == {
        "code": "internal_error",
        "message": "this item could not be evaluated",
    }


def test_items_that_come_after_the_time_is_up_are_said_to(monkeypatch):
    monkeypatch.setattr(evaluations, "COMPUTE_S", -1.0)
    found = asked(check={"length": {}}, items=[{"text": "a"}, {"text": "b"}])
    assert [each["error"]["code"] for each in found["data"]] == ["evaluation_timeout"] * 2


def test_an_adapter_is_no_judge():
    served = replace(nli(), adapter="pirate")
    body = parse_body(
        Evaluations(), {"model": "nli", "check": {"entailment": {"premise": "p"}}, "items": [{"text": "a"}]}
    )
    with pytest.raises(ApiError, match="no adapters"):
        asyncio.run(Evaluations().answer(body, served, Asked("r", 0, 0)))
