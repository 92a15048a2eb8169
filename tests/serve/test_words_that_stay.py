"""What people send stays between them and the model: no prompt, key or file name in a log, a figure or a fault's text."""

from __future__ import annotations

import json
import logging
import time
from contextlib import contextmanager

import httpx
import pytest

from raygen.engines.echo import EchoEngine
from raygen.serve.config import ServiceConfig
from raygen.serve.tenants.keys import add_key
from raygen.storage import open_store
from tests.fakes.batch_service import line, running

PROMPT, FILE = "canary-in-a-prompt", "canary-of-a-file.jsonl"
CHAT = "/v1/chat/completions"


class Clumsy(EchoEngine):
    """Breaks with errors that quote what they were asked."""

    async def generate(self, request):
        raise RuntimeError(f"cannot read {request.messages}")

    async def stream(self, request):
        async for chunk in super().stream(request):
            yield chunk
            raise ValueError(f"lost {request.messages}")


@contextmanager
def all_logs():
    lines = []

    class Keeper(logging.Handler):
        def emit(self, record):
            if not record.name.startswith("http"):  # the client's own
                lines.append(self.format(record))  # with the traceback, if one is told

    keeper, root = Keeper(level=logging.DEBUG), logging.getLogger()
    level = root.level
    root.addHandler(keeper)
    root.setLevel(logging.INFO)
    logging.getLogger("raygen").addHandler(keeper)
    try:
        yield lines
    finally:
        root.removeHandler(keeper)
        logging.getLogger("raygen").removeHandler(keeper)
        root.setLevel(level)


@pytest.fixture
def keyed(tmp_path):
    models = {
        "echo": {"family": "causal_lm", "engine": "echo", "options": {"context_tokens": 64}},
        "clumsy": {"family": "causal_lm", "engine": f"{__name__}:Clumsy"},
    }
    key = add_key(open_store(str(tmp_path)), "alice", scopes=["inference", "files", "batches", "admin"])
    config = ServiceConfig.model_validate({"store": str(tmp_path), "models": models})
    with all_logs() as lines, running(config) as service:
        with httpx.Client(
            base_url=service.url, timeout=30, headers={"authorization": f"Bearer {key}"}
        ) as http:
            yield http, key, lines


def test_words_of_people_are_in_no_log_figure_or_fault(keyed):
    http, key, lines = keyed
    said = {"messages": [{"role": "user", "content": PROMPT}]}
    answers = [
        http.post(CHAT, json={"model": "clumsy", **said}),
        http.post(CHAT, json={"model": "clumsy", "stream": True, **said}),
        http.post(CHAT, json={"model": "echo", **said, "n": 0}),
        http.post(CHAT, json={"model": "echo", "messages": [{"role": "user", "content": f"{PROMPT} " * 99}]}),
        http.post(CHAT, json={"model": "clumsy", **said}, headers={"authorization": f"Bearer {key[:-3]}abc"}),
        http.post(CHAT, content=f'{{"messages": "{PROMPT}'.encode()),
        http.get(f"/v1/files/{FILE}"),
        http.post("/v1/files", data={"purpose": "batch"}, files={"file": (FILE, b"")}),
        http.post("/v1/files", data={"purpose": FILE}, files={"file": (FILE, line("a", PROMPT).encode())}),
    ]
    assert answers[0].status_code == 500
    assert '"error"' in answers[1].text
    assert all(answer.status_code >= 400 for answer in (answers[0], *answers[2:7]))
    faults = [answer.text for answer in (*answers[:1], *answers[2:6])]
    faults += [part for part in answers[1].text.split("\n\n") if '"error"' in part]
    figures = http.get("/metrics").text
    for canary in (PROMPT, key, key.split("-")[2]):
        for text in (*faults, figures, "\n".join(lines)):
            assert canary not in text, text
    for text in (figures, "\n".join(lines)):
        assert FILE not in text
    assert any("RuntimeError" in each for each in lines)  # its class is what is told


def test_a_batch_tells_nothing_either(keyed):
    http, _, lines = keyed
    rows = "\n".join(line(f"r{n}", PROMPT, model="clumsy") for n in range(2)).encode()
    file = http.post("/v1/files", data={"purpose": "batch"}, files={"file": (FILE, rows)}).json()
    begun = {"input_file_id": file["id"], "endpoint": CHAT, "completion_window": "24h"}
    batch = http.post("/v1/batches", json=begun).json()
    for _ in range(400):
        batch = http.get(f"/v1/batches/{batch['id']}").json()
        if batch["status"] in ("completed", "failed"):
            break
        time.sleep(0.05)
    assert batch["status"] == "completed", batch
    told = http.get(f"/v1/files/{batch['error_file_id']}/content").text
    assert PROMPT not in told, told
    assert all(json.loads(each)["response"]["status_code"] >= 500 for each in told.splitlines())
    assert PROMPT not in "\n".join(lines)
    assert FILE not in "\n".join(lines)
