"""Streamed answers put together, from bytes cut anywhere."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from raygen.engines.openai.chat_completions import Answer, Trouble, read_answer
from raygen.engines.openai.event_stream import EventStream, is_event_stream


def event(*choices: dict[str, Any], **fields: Any) -> bytes:
    return b"data: " + orjson.dumps({"id": "c", "choices": choices} | fields) + b"\n\n"


def delta(index: int = 0, finish: str | None = None, **message: Any) -> dict[str, Any]:
    return {"index": index, "delta": message, "finish_reason": finish}


DONE = b"data: [DONE]\n\n"


def assembled(raw: bytes, size: int = 1 << 20) -> tuple[int, Any] | Trouble:
    stream = EventStream()
    for start in range(0, len(raw), size):
        stream.feed(raw[start : start + size])
    answer = stream.answer()
    return answer if isinstance(answer, Trouble) else (answer[0], orjson.loads(answer[1]))


def message(raw: bytes) -> dict[str, Any]:
    answer = assembled(raw)
    assert not isinstance(answer, Trouble)
    found: dict[str, Any] = answer[1]["choices"][0]["message"]
    return found


HELLO = (
    event(delta(role="assistant", content=""))
    + b": a comment\r\n\r\n"
    + event(delta(content="Grüße, "))
    + event(delta(content="€🙂"))
    + event(delta(finish="stop"))
    + event(usage={"prompt_tokens": 3, "completion_tokens": 5})
    + DONE
)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10_000])
@pytest.mark.parametrize("ends", [b"\n", b"\r\n"])
def test_the_whole_is_the_same_wherever_the_bytes_are_cut(size: int, ends: bytes):
    answer = assembled(HELLO.replace(b"\n", ends), size)
    assert not isinstance(answer, Trouble)
    status, body = answer
    assert status == 200
    assert body["choices"] == [
        {"index": 0, "message": {"role": "assistant", "content": "Grüße, €🙂"}, "finish_reason": "stop"}
    ]
    assert body["usage"] == {"prompt_tokens": 3, "completion_tokens": 5}


def test_it_reads_as_an_answer_in_one_piece_does():
    stream = EventStream()
    stream.feed(HELLO)
    status, raw = stream.answer()  # type: ignore[misc]
    answer = read_answer(status, raw, 1, None)
    assert isinstance(answer, Answer)
    assert [(sample.text, sample.finish_reason, sample.output_tokens) for sample in answer.samples] == [
        ("Grüße, €🙂", "stop", 5)
    ]


def test_choices_come_in_any_order():
    raw = event(delta(1, content="b")) + event(delta(0, content="a"), delta(1, content="B"))
    raw += event(delta(1, "length")) + event(delta(0, "stop", content="A")) + DONE
    answer = assembled(raw)
    assert not isinstance(answer, Trouble)
    found = [(choice["message"]["content"], choice["finish_reason"]) for choice in answer[1]["choices"]]
    assert found == [("aA", "stop"), ("bB", "length")]


def test_reasoning_refusals_and_tool_calls_are_put_together():
    raw = event(delta(role="assistant", content=None, reasoning_content="Let me "))
    raw += (
        event(delta(reasoning_content="see.")) + event(delta(refusal="I ")) + event(delta(refusal="won't."))
    )
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "add", "arguments": ""}}
    raw += event(delta(tool_calls=[call]))
    raw += event(delta(tool_calls=[{"index": 0, "function": {"arguments": '{"a":'}}]))
    raw += event(
        delta(tool_calls=[{"index": 1, "id": "call_2", "function": {"name": "sub", "arguments": "{}"}}])
    )
    raw += event(delta(tool_calls=[{"index": 0, "function": {"arguments": " 1}"}}])) + event(
        delta(finish="tool_calls")
    )
    found = message(raw + DONE)
    assert (found["reasoning_content"], found["refusal"]) == ("Let me see.", "I won't.")
    assert [(call["id"], call["function"]) for call in found["tool_calls"]] == [
        ("call_1", {"name": "add", "arguments": '{"a": 1}'}),
        ("call_2", {"name": "sub", "arguments": "{}"}),
    ]


def test_log_probabilities_follow_each_other_also_those_that_are_no_numbers():
    def token(text: str, logprob: str) -> bytes:
        content = f'[{{"token": "{text}", "logprob": {logprob}, "top_logprobs": []}}]'
        choice = f'{{"index": 0, "delta": {{"content": "{text}"}}, "logprobs": {{"content": {content}}}}}'
        return f'data: {{"choices": [{choice}]}}\n\n'.encode()

    raw = token("a", "-0.5") + token("b", "-Infinity") + event(delta(finish="stop")) + DONE
    stream = EventStream()
    stream.feed(raw)
    answer = read_answer(*stream.answer(), 1, None)  # type: ignore[misc]
    assert isinstance(answer, Answer)
    (sample,) = answer.samples
    assert [(token.token, token.logprob) for token in sample.logprobs or []] == [("a", -0.5), ("b", None)]


def test_contents_in_parts_stay_parts():
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    raw = event(delta(content=[thought])) + event(delta(content="yes", finish="stop"))
    assert message(raw)["content"] == [thought, {"type": "text", "text": "yes"}]


def test_halves_of_a_character_make_a_whole():
    half = '{"choices": [{"index": 0, "delta": {"content": "%s"}}]}'
    raw = "".join(f"data: {half % part}\n\n" for part in ("\\ud83d", "\\ude42")).encode()
    assert message(raw + event(delta(finish="stop")))["content"] == "🙂"


def test_a_whole_message_may_be_the_only_piece():
    raw = event({"index": 0, "message": {"content": "all"}, "finish_reason": "stop"}).rstrip(b"\n")
    assert message(raw)["content"] == "all"


def test_usage_may_come_with_every_piece():
    raw = event(delta(content="a"), usage={"completion_tokens": 1})
    raw += event(delta(content="b", finish="stop"), usage={"completion_tokens": 2}) + event(usage=None) + DONE
    answer = assembled(raw)
    assert not isinstance(answer, Trouble)
    assert answer[1]["usage"] == {"completion_tokens": 2}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        event(delta(content="The capital of France is Pa")),
        event(delta(content="The capital of France is Pa")) + DONE,
        event(delta(0, "stop", content="a"), delta(1, content="b")),
        event(usage={"completion_tokens": 2}) + DONE,
    ],
)
def test_a_stream_that_broke_off_is_no_answer(raw: bytes):
    answer = assembled(raw)
    assert isinstance(answer, Trouble)
    assert (answer.code, "the stream ended before the answer did" in answer.message) == ("bad_answer", True)


def test_the_end_may_be_told_by_the_finish_reason_alone():
    assert message(event(delta(content="a", finish="stop")))["content"] == "a"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (b'data: {"error": {"message": "overloaded", "code": 503}}', 503),
        (b'data: {"error": {"message": "no", "code": "429"}, "choices": []}', 429),
        (b'data: {"error": {"message": "died", "code": "server_error"}}', 200),
        (b'event: error\ndata: {"message": "died"}', 200),
        (b'data: {"error": "died", "error_type": "generation"}', 200),
    ],
)
def test_an_error_in_the_stream_is_the_answer(error: bytes, status: int):
    stream = EventStream()
    stream.feed(event(delta(content="The capital")) + error + b"\n\n" + event(delta(finish="stop")) + DONE)
    assert stream.done
    answer = stream.answer()
    assert not isinstance(answer, Trouble)
    assert answer[0] == status
    trouble = read_answer(*answer, 1, None)
    assert isinstance(trouble, Trouble)
    assert any(word in trouble.message for word in ("overloaded", "no", "died"))


@pytest.mark.parametrize("data", [b"data: <html>\n\n", b"data: [1]\n\n", b'data: {"choices": [1]}\n\n'])
def test_what_cannot_be_read_is_no_answer(data: bytes):
    answer = assembled(data + HELLO)
    assert isinstance(answer, Trouble)
    assert answer.message.startswith("no chat completion: ")


def test_a_body_is_known_for_a_stream_by_its_beginning():
    assert is_event_stream(HELLO)
    assert is_event_stream(b"\xef\xbb\xbf\n: ping\n")
    assert not is_event_stream(b'{"choices": []}')
    assert not is_event_stream(b"<html>")
    assert not is_event_stream(b"")
