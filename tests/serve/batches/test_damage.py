"""A damaged record says so, and neither listings nor other batches suffer from it."""

from __future__ import annotations

import time
from pathlib import Path

import openai
import pytest

from tests.fakes.batch_service import CHAT, lines, running, settings


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)


def test_listings_show_what_is_damaged_and_all_else(tmp_path):
    with running(settings(tmp_path)) as service:
        client = service.client()

        def done() -> str:
            file = client.files.create(file=("x.jsonl", lines(3)), purpose="batch")
            batch = client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
            while client.batches.retrieve(batch.id).status != "completed":
                time.sleep(0.05)
            return batch.id

        found = [done() for _ in range(3)]
    top = tmp_path / "tenants/default"
    flip(next(top.glob(f"requests/{found[0]}*")))
    flip(next(top.glob(f"ends/{found[1]}*")))
    flip(next(top.glob("files/*.json")))
    with running(settings(tmp_path)) as service:
        client = service.client(max_retries=1)
        told = {batch.id: batch for batch in client.batches.list()}
        assert [told[each].status for each in found] == ["failed", "failed", "completed"]
        assert told[found[0]].errors.data[0].code == "data_damaged"
        files = list(client.files.list())
        assert sorted(file.status for file in files).count("error") >= 2
        good = told[found[2]].output_file_id
        assert good in {file.id for file in files if file.status == "processed"}
        assert len(client.files.content(good).text.splitlines()) == 3
        with pytest.raises(openai.InternalServerError) as caught:
            client.batches.retrieve(found[0])
        assert caught.value.code == "data_damaged"
