"""A run over an endpoint that gives all kinds of answers: what becomes of each, and how people are told."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import raygen

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
CALLS = [{"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"x": 1}'}}]
FINE = {"finish_reason": "stop", "index": 0, "message": {"content": '{"a": 6}'}}


def said(content: str | None, finish: str = "stop", **beside: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "finish_reason": finish, "message": {"content": content, **beside}}]}


# What the endpoint answers to each row's prompt: the first time, and after that.
ANSWERS: dict[str, list[dict[str, Any]]] = {
    "fine": [said('{"a": 6}') | {"usage": {"prompt_tokens": "7", "completion_tokens": 3.0}}],
    "broken": [said('{"a": 4', "error")],
    "mended": [said('{"a": 4', "error"), said('{"a": 5}')],
    "filtered": [said('{"a": 6', "content_filter")],
    "refused": [said(None, refusal="I can't help with that")],
    "calls": [said(None, "tool_calls", tool_calls=CALLS)],
    "thinks": [said(None, "length", reasoning_content="Let me see. " * 40)],
    "thought": [said('{"a": 7}', reasoning="hm, 7")],
    "prose": [said('Sure! {"a": 4}')],
    "text": [said('{"a": "6"}')],
    "cut": [said('{"a":', "length")],
    "old": [{"choices": [FINE | {"logprobs": {"tokens": ['{"a":', " 6}"], "token_logprobs": [-0.1, -0.2]}}]}],
    "odd": [
        {
            "choices": [
                FINE | {"logprobs": {"content": [{"token": "{", "logprob": float("-inf")}]}, "index": None}
            ],
            "usage": {"prompt_tokens": 7, "completion_tokens": "many"},
        }
    ],
}


class Endpoint(BaseHTTPRequestHandler):
    asked: Counter[str]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        word = body["messages"][-1]["content"]
        answers = ANSWERS.get(word, [said("Hi")])  # it may also be asked whether it answers anybody
        data = json.dumps(answers[min(self.asked[word], len(answers) - 1)]).encode()
        self.asked[word] += 1
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture(scope="module")
def endpoint() -> Iterator[tuple[str, Counter[str]]]:
    handler = type("Handler", (Endpoint,), {"asked": Counter()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1", handler.asked  # type: ignore[attr-defined]
    server.shutdown()
    server.server_close()
    thread.join()


def job_of(folder: Path, url: str, **changes: Any) -> Path:
    (folder / "in.jsonl").write_text("".join(json.dumps({"id": word, "q": word}) + "\n" for word in ANSWERS))
    options = {"base_url": url, "max_retries": 1}
    generate = {
        "model": "m", "prompt": "{{ q }}", "constraint": {"json_schema": SCHEMA}, "answer": {"json_field": "a"},
        "sampling": {"logprobs": 1},
    }  # fmt: skip
    job = {
        "name": "answers",
        "source": {"format": "jsonl", "uri": str(folder / "in.jsonl"), "key": "id"},
        "models": {"m": {"family": "causal_lm", "engine": "openai", "ref": "x", "options": options}},
        "steps": [{"generate": generate}],
        "output": str(folder / "run"),
        **changes,
    }
    path = folder / "job.yaml"
    path.write_text(json.dumps(job))
    return path


@pytest.fixture
def done(
    tmp_path: Path,
    endpoint: tuple[str, Counter[str]],
    cli: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> Any:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    endpoint[1].clear()
    return cli("run", job_of(tmp_path, endpoint[0]), "--inline", "-q")


def test_every_answer_has_its_fate_and_nothing_is_lost(
    done: Any, tmp_path: Path, endpoint: tuple[str, Counter[str]], cli: Callable[..., Any]
) -> None:
    rows = {row["row_id"]: row for row in raygen.open_run(str(tmp_path / "run")).to_arrow().to_pylist()}
    assert {word: (row["status"], row["reason"]) for word, row in rows.items()} == {
        "fine": ("accepted", None),
        "broken": ("failed", "bad_answer"),
        "mended": ("accepted", None),
        "filtered": ("rejected", "content_filter"),
        "refused": ("rejected", "refused"),
        "calls": ("rejected", "tool_calls"),
        "thinks": ("rejected", "only_reasoning"),
        "thought": ("accepted", None),
        "prose": ("rejected", "constraint_not_met"),
        "text": ("rejected", "constraint_not_met"),
        "cut": ("rejected", "constraint_not_met"),
        "old": ("accepted", None),
        "odd": ("accepted", None),
    }
    samples = {word: row["samples"][0] for word, row in rows.items() if row["samples"]}
    assert samples["fine"]["usage"] == {"prompt_tokens": 7, "output_tokens": 3, "units": None}
    assert samples["mended"]["text"] == '{"a": 5}'
    assert endpoint[1]["broken"] == endpoint[1]["mended"] == 2
    assert samples["filtered"]["text"] == '{"a": 6'
    assert samples["refused"]["refusal"] == "I can't help with that"
    assert json.loads(samples["calls"]["tool_calls"]) == CALLS
    assert samples["thinks"]["reasoning"].startswith("Let me see.")
    assert (samples["thought"]["reasoning"], samples["thought"]["answer"]) == ("hm, 7", "7")
    assert [each["logprob"] for each in samples["old"]["logprobs"]] == [-0.1, -0.2]
    assert [each["logprob"] for each in samples["odd"]["logprobs"]] == [None]
    assert samples["odd"]["usage"] == {"prompt_tokens": 7, "output_tokens": None, "units": None}
    assert rows["cut"]["attempts"][-1]["detail"].startswith("it was cut off at max_tokens: it is not JSON")
    assert "error" in rows["broken"]["error"]["message"]
    assert done.code == 3
    assert "the endpoint did not say how many tokens 11 answers took" in done.err
    assert "11 samples came without log-probabilities that were asked for" in done.err
    verified = cli("verify", tmp_path / "run")
    assert verified.code == 0, verified


def test_people_are_shown_what_came_beside_the_text(
    done: Any, tmp_path: Path, cli: Callable[..., Any]
) -> None:
    run = tmp_path / "run"
    shown = cli("show", run, "-n", "20").out
    why = "    generate: the model refuses: I can't help with that\n"
    assert (
        f"refused  rejected (refused)\n{why}    0: (empty)\n       refusal: I can't help with that\n" in shown
    )
    assert '    0: {"a": 7}  => 7\n       reasoning: hm, 7\n' in shown
    assert '    0: {"a":  (cut off at max_tokens)\n' in shown
    assert "    0: (empty, cut off at max_tokens)\n       reasoning: Let me see." in shown
    assert "       tool calls: [" in shown
    assert "(180 more characters; --json has all)" in shown
    traced = cli("trace", run, "thinks").out
    assert "reasoning: Let me see." in traced
    assert "went into reasoning" in traced
    assert "more characters" not in traced
    assert json.loads(cli("trace", run, "refused", "--json").out)["steps"][0]["decisions"][0]["made"][
        "refusal"
    ]
    page = (run / "report.html").read_text()
    for words in (
        "Refusal",
        "I can&#39;t help with that",
        "Reasoning",
        "Tool calls",
        "came without log-prob",
    ):
        assert words in page, words
    to = tmp_path / "out"
    assert cli("export", run, "--format", "jsonl", "--to", to).code == 0
    exported = [json.loads(line) for line in (to / "part-00000.jsonl").read_text().splitlines()]
    assert [row["samples"][0]["reasoning"] for row in exported if row["row_id"] == "thought"] == ["hm, 7"]


def test_a_long_text_is_folded_and_json_has_all_of_it(
    tmp_path: Path,
    endpoint: tuple[str, Counter[str]],
    cli: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    long = "word " * 1_000_000
    monkeypatch.setitem(ANSWERS, "fine", [said(long)])
    plain = [{"generate": {"model": "m", "prompt": "{{ q }}"}}]
    job = job_of(tmp_path, endpoint[0], steps=plain)
    assert cli("run", job, "--inline", "-q", "--max-rows", "1").code == 0
    shown = cli("show", tmp_path / "run").out
    assert len(shown) < 3000
    assert "(4,998,000 more characters; --json has all)" in shown
    assert json.loads(cli("show", tmp_path / "run", "--json").out)["samples"][0]["text"] == long
    traced = cli("trace", tmp_path / "run", "fine").out
    assert "(4,980,000 more characters; --json has all)" in traced
    assert len(traced) < 60_000
