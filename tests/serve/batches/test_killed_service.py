"""The whole service is killed in the middle of a batch and started again: the batch goes on and ends exactly."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import openai

from tests.fakes.batch_service import CHAT, answer_to, ended, lines, rows_of, uploaded

ROWS = 96
PLACE = r"http://127\.0\.0\.1:\d+"


@contextmanager
def serving(folder: Path):
    """Run `raygen serve --inline` in a process of its own; yields it and a client."""
    options = {"delay_s": 0.2, "concurrency": 8, "context_tokens": 64}
    config = {
        "store": str(folder / "store"),
        "models": {"echo": {"family": "causal_lm", "engine": "echo", "options": options}},
    }
    (folder / "service.yaml").write_text(json.dumps(config))
    command = [sys.executable, "-m", "raygen", "serve", "service.yaml", "--inline", "--port", "0"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        said = next(each for each in process.stdout if "serving" in each)
        yield (
            process,
            openai.OpenAI(base_url=f"{re.search(PLACE, said)[0]}/v1", api_key="none", max_retries=8),
        )
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_killed_service_goes_on_with_its_batches(tmp_path: Path):
    with serving(tmp_path) as (process, client):
        batch = client.batches.create(
            input_file_id=uploaded(client, lines(ROWS, (11,))), endpoint=CHAT, completion_window="24h"
        )
        while not client.batches.retrieve(batch.id).request_counts.completed:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    with serving(tmp_path) as (_, client):
        found = client.batches.retrieve(batch.id)
        assert found.status == "in_progress"
        assert 0 < found.request_counts.completed < ROWS
        found = ended(client, batch.id)
        good, bad = rows_of(client, found.output_file_id), rows_of(client, found.error_file_id)
    assert list(bad) == ["r11"]
    assert {*good} == {f"r{n}" for n in range(ROWS)} - {"r11"}
    for n, row in enumerate(good.values()):
        assert row["response"]["body"]["choices"][0]["message"]["content"] == answer_to(n + (n > 10))
