"""The page about batches: its example runs as it stands, but for the address and the pause."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.batch_service import ended, running, settings
from tests.pages.test_docs_pages import DOCS, blocks


def test_the_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    models = {"smol": {"family": "causal_lm", "engine": "echo", "options": {"context_tokens": 7}}}
    example, retry = blocks(DOCS / "batches.md", "python")
    with running(settings(tmp_path / "store", models=models)) as server:
        found: dict[str, object] = {}
        exec(example.replace("http://127.0.0.1:8000", server.url).replace("sleep(2)", "sleep(0.1)"), found)
        assert '"custom_id":"q99"' in capsys.readouterr().out
        batch = found["batch"]
        assert (batch.status, batch.request_counts.completed) == ("completed", 100)
        with pytest.raises(Exception, match="no request of this batch failed"):
            exec(retry, found)
        ended(server.client(), batch.id)
