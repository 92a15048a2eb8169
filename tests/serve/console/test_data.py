"""What the console tells of a batch are the public words: no exception's text, no place in the store, no other internals."""

from __future__ import annotations

import httpx

from raygen.engines.echo import EchoEngine
from raygen.errors import RowError
from tests.fakes.batch_service import created, ended, line, running, settings

PRIVATE = "weights at /var/private/path broke"


async def _broken(self, request):
    if "bad" in str(request.messages):
        raise RowError("nan_logits", PRIVATE)
    return await WORKS(self, request)


WORKS = EchoEngine.generate


def test_rows_and_report_tell_the_public_words_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(EchoEngine, "generate", _broken)
    store = tmp_path / "store-of-the-service"
    with running(settings(store)) as service:
        client = service.client()
        rows = [line("good"), line("broken", "bad"), line("long", "x " * 64)]
        batch = ended(client, created(client, ("\n".join(rows) + "\n").encode()).id)
        errors = client.files.content(batch.error_file_id).text
        found = httpx.get(f"{service.url}/console/api/rows/{batch.id}/0").json()["rows"]
        told = {row["row_id"]: row["error"] for row in found}
        report = httpx.get(f"{service.url}/console/api/report/{batch.id}")
    assert told["good"] is None
    assert [told[name]["code"] for name in ("broken", "long")] == ["nan_logits", "context_length_exceeded"]
    for name in ("broken", "long"):
        assert f'"message":"{told[name]["message"]}"' in errors  # the same words as in the error file
    assert report.status_code == 200
    assert "context_length_exceeded" in report.text
    assert "nan_logits" in report.text
    assert batch.id in report.text
    assert "broken" in report.text
    for text in (report.text, str(found), errors):
        assert PRIVATE not in text
        assert store.name not in text
    assert "engine: echo" not in report.text  # the job as the operator has written it
