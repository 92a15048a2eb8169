"""Schemas are compared with texts in bounded time, and fetch nothing, whatever they name."""

from __future__ import annotations

import socket

import pytest

from raygen.errors import RowError
from raygen.steps.tools import schemas
from raygen.steps.tools.schemas import Schema


def test_parts_that_refer_to_parts_end_in_time(monkeypatch):
    monkeypatch.setattr(schemas, "LIMIT_S", 0.05)
    parts = {f"p{n}": {"allOf": [{"$ref": f"#/$defs/p{n + 1}"}] * 3} for n in range(40)}
    with pytest.raises(RowError) as caught:
        Schema({"$ref": "#/$defs/p0", "$defs": {**parts, "p40": {}}}).fault_in("{}")
    assert caught.value.code == "schema_timeout"
    assert Schema({"type": "object"}).fault_in("{}") is None


@pytest.mark.parametrize("key", ["$ref", "$dynamicRef"])
def test_another_document_is_not_fetched(key):
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        server.settimeout(0.05)
        uri = f"http://127.0.0.1:{server.getsockname()[1]}/schema"
        assert Schema({key: uri}).fault_in("{}") == "the schema refers to what it does not hold"
        with pytest.raises(TimeoutError):
            server.accept()


def test_a_text_that_is_nested_deeply_is_no_json():
    assert "not JSON" in (Schema({"type": "array"}).fault_in("[" * 100_000) or "")
