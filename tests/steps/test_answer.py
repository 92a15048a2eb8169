"""Lines of an OpenAI batch file as a job: each answered or refused, once, with the same bytes each time."""

from __future__ import annotations

import base64
import json

from raygen.pipeline.run import run_job
from raygen.program.job import Job
from raygen.runs.view import open_run
from raygen.wire.lines import line_of

CHAT, SPEECH = "/v1/chat/completions", "/v1/audio/speech"


def lines(tmp_path, bodies):
    path = tmp_path / "in.jsonl"
    rows = [
        {"custom_id": f"r{n}", "method": "POST", "url": CHAT, "body": body} for n, body in enumerate(bodies)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def answered(tmp_path, bodies, seed=0, out="run"):
    job = {
        "name": "batch",
        "source": {"format": "jsonl", "uri": str(lines(tmp_path, bodies)), "key": "custom_id"},
        "models": {"m": {"family": "causal_lm", "engine": "echo"}},
        "steps": [{"answer": {"endpoint": CHAT, "model": "m", "served_as": "smol"}}],
        "seed": seed,
        "output": str(tmp_path / out),
    }
    assert run_job(Job.model_validate(job), inline=True).state == "finished"
    found = {}
    for outcome in open_run(str(tmp_path / out)).rows():
        found[outcome["row_id"]] = line_of(outcome, "name")
    return found


def chat(**more):
    return {"model": "smol", "messages": [{"role": "user", "content": "hi"}], **more}


def test_lines_are_answered_and_refusals_keep_their_status(tmp_path):
    found = answered(
        tmp_path, [chat(), {"model": "smol"}, chat(model="other"), chat(stream=True), {"model": 3}]
    )
    good, line = found["r0"]
    assert good
    assert line["response"]["status_code"] == 200
    assert line["response"]["body"]["object"] == "chat.completion"
    refused = {row: line["response"] for row, (good, line) in found.items() if not good}
    assert {row: each["status_code"] for row, each in refused.items()} == {
        "r1": 400,
        "r2": 404,
        "r3": 400,
        "r4": 400,
    }
    assert refused["r1"]["body"]["error"]["param"] == "messages"
    assert refused["r2"]["body"]["error"]["code"] == "model_not_found"


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path):
    bodies = [chat(), chat(n=3)]
    first, again = answered(tmp_path, bodies), answered(tmp_path, bodies, out="again")
    assert first == again
    assert answered(tmp_path, bodies, seed=1, out="other") != first


def test_a_body_may_be_text_as_tables_hold_it(tmp_path):
    assert answered(tmp_path, [json.dumps(chat())])["r0"][0]


def test_speech_stays_bytes_in_the_run_and_is_base64_in_its_line(tmp_path):
    path = tmp_path / "in.jsonl"
    body = {"model": "m", "input": "hello", "voice": "v", "seed": 1}
    path.write_text(json.dumps({"custom_id": "r0", "method": "POST", "url": SPEECH, "body": body}) + "\n")
    job = {
        "name": "speech",
        "source": {"format": "jsonl", "uri": str(path), "key": "custom_id"},
        "models": {"m": {"family": "causal_lm", "engine": "tests.steps.speaker:Speaker"}},
        "steps": [{"answer": {"endpoint": SPEECH, "model": "m"}}],
        "output": str(tmp_path / "run"),
    }
    assert run_job(Job.model_validate(job), inline=True).state == "finished"
    outcome = next(open_run(str(tmp_path / "run")).rows())
    assert outcome["error"] is None
    sound = outcome["samples"][0]["media"]
    assert sound.startswith(b"hello ")
    line = line_of(outcome, "name")[1]["response"]["body"]
    assert (line["media_type"], base64.b64decode(line["b64_data"])) == ("audio/mpeg", sound)
