"""What is sent to an endpoint besides the request, and what is made of what comes back."""

from __future__ import annotations

import asyncio
from asyncio import StreamWriter
from typing import Any

import orjson
import pytest

from raygen.engines.openai import http as endpoint_http
from raygen.errors import EngineConfigError, RowError
from tests.engines.asked import engine_of, request, run, texts
from tests.engines.openai.raw_server import Answer, RawServer, answers, reply, whole
from tests.engines.openai.test_event_stream import DONE, HELLO, delta, event

pytestmark = pytest.mark.usefixtures("quick_endpoints")
SECRET = "secret-Abc+123/="


def asked(
    answer: Answer, path: str = "", tries: int = 1, **options: Any
) -> tuple[str | EngineConfigError | RowError, RawServer]:
    """Ask a server for so many answers; return the last text, or what was raised, and the server."""

    async def main() -> tuple[str | EngineConfigError | RowError, RawServer]:
        async with RawServer(answer) as server:
            engine = engine_of(
                server.url.removesuffix("/v1") + (path or "/v1"), **{"max_retries": 0} | options
            )
            await engine.start()
            try:
                for _ in range(tries):
                    text = texts(await engine.generate(request()))[0]
                return text, server
            except (EngineConfigError, RowError) as error:
                return error, server
            finally:
                await engine.close()

    found: tuple[str | EngineConfigError | RowError, RawServer] = run(main())
    return found


def failed(answer: Answer, **options: Any) -> RowError:
    """Ask a server that answers this to the row alone."""

    async def answers_others(head: bytes, body: bytes, writer: StreamWriter) -> None:
        if orjson.loads(body)["max_tokens"] == 1:  # the engine's own question whether others are answered
            writer.write(reply(whole()))
        else:
            await answer(head, body, writer)

    error, _ = asked(answers_others, **options)
    assert isinstance(error, RowError)
    return error


def stopped(answer: Answer, **options: Any) -> EngineConfigError:
    error, _ = asked(answer, **options)
    assert isinstance(error, EngineConfigError)
    return error


class Azure:
    """Answers as Azure does: by path, version and header; anything else is refused."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []

    async def __call__(self, head: bytes, body: bytes, writer: StreamWriter) -> None:
        line, *headers = head.decode().rstrip().split("\r\n")
        fields = {name.lower(): value for name, _, value in (header.partition(": ") for header in headers)}
        path = "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21"
        self.bodies.append(orjson.loads(body))
        if line != f"POST {path} HTTP/1.1":
            writer.write(
                reply(b'{"error": {"code": "404", "message": "Resource not found"}}', "404 Not Found")
            )
        elif fields.get("api-key") != SECRET or "authorization" in fields:
            error = {"code": "401", "message": f"Access denied due to invalid key {fields.get('api-key')}"}
            writer.write(reply(orjson.dumps({"error": error}), "401 PermissionDenied"))
        else:
            writer.write(reply(whole("from Azure")))


def test_azures_form(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", SECRET)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-another-service")
    given: dict[str, Any] = {
        "path": "/openai/deployments/gpt-4o",
        "headers": {"api-key": "AZURE_OPENAI_API_KEY"},
        "query": {"api-version": "2024-10-21"},
    }
    assert asked(Azure(), **given)[0] == "from Azure"
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "another-key")
    error = stopped(Azure(), **given)
    assert "with the key in environment variable AZURE_OPENAI_API_KEY (headers.api-key)" in str(error)
    assert "another-key" not in str(error)
    assert "invalid key ***" in str(error)


def test_headers_and_query_come_from_variables(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TITLE", "a title")
    monkeypatch.setenv("AGENT", "curl/8")
    monkeypatch.setenv("CODE", SECRET)
    _, server = asked(
        answers(reply(whole())),
        headers={"X-Title": "TITLE", "user-agent": "AGENT"},
        query={"v": "a&b"},
        query_env={"code": "CODE"},
    )
    (head,) = server.heads
    assert head.startswith(b"POST /v1/chat/completions?v=a%26b&code=secret-Abc%2B123/%3D HTTP/1.1\r\n")
    assert b"\r\nX-Title: a title\r\n" in head
    assert head.lower().count(b"user-agent:") == 1
    assert b"curl/8" in head
    assert b"Authorization" not in head


def test_a_key_can_be_kept_back(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    _, server = asked(answers(reply(whole())), api_key_env=None)
    assert b"Authorization" not in server.heads[0]


@pytest.mark.parametrize("value", [None, "", "  ", "two\nlines", "schlüssel-1"])
def test_a_variable_that_is_named_holds_something(value: str | None, monkeypatch: pytest.MonkeyPatch):
    if value is not None:
        monkeypatch.setenv("GATEWAY", value)
    for option in ("headers", "query_env"):
        engine = engine_of("http://127.0.0.1:1/v1", **{option: {"x-gate": "GATEWAY"}})
        with pytest.raises(EngineConfigError, match=rf"'writer': .*GATEWAY \({option}.x-gate\)") as caught:
            run(engine.start())
        assert not value or not value.strip() or value not in str(caught.value)


def test_no_message_holds_a_secret_in_any_form(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GATEWAY", f"Bearer {SECRET}")
    monkeypatch.setenv("CODE", "c0de/with=signs")

    async def echo(head: bytes, body: bytes, writer: StreamWriter) -> None:
        said = f"{head.decode()} {SECRET} c0de/with=signs c0de%2Fwith%3Dsigns"
        writer.write(reply(orjson.dumps({"error": {"message": said[-250:]}}), "400 Bad Request"))

    error = failed(echo, headers={"Authorization": "GATEWAY"}, query_env={"code": "CODE"})
    assert "***" in error.message
    for part in ("Abc+123", "c0de"):
        assert part not in error.message


def test_nor_as_it_was_sent_or_as_json_and_html_write_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CODE", 'c0de&w/"th <signs')

    async def echo(head: bytes, body: bytes, writer: StreamWriter) -> None:
        line = head.decode().split("\r\n")[0]
        assert "c0de%26w/%22th" in line  # as aiohttp sends it
        said = f"{line} c0de&amp;w/&quot;th &lt;signs " + r"c0de&w/\"th <signs c0de%26w%2F%22th+%3Csigns"
        writer.write(reply(orjson.dumps({"error": {"message": said}}), "400 Bad Request"))

    error = failed(echo, query_env={"code": "CODE"})
    assert error.message.count("***") == 4
    assert "c0de" not in error.message


@pytest.mark.parametrize(
    ("location", "words"),
    [
        (
            "https://x.example/v1/chat/completions",
            "if that is the endpoint, say base_url: https://x.example/v1",
        ),
        ("/v2/chat/completions?code=hidden", "/v2/chat/completions, which is not followed"),
        (
            "https://me:hidden@login.example/sso?state=hidden",
            "https://login.example/sso, which is not followed; that",
        ),
        (None, "a redirect to nowhere"),
    ],
)
def test_redirects_are_not_followed_but_told(
    location: str | None, words: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    more = f"Location: {location}\r\n" if location else ""
    error, server = asked(answers(reply(b"", "307 Temporary Redirect", more=more)))
    assert isinstance(error, EngineConfigError)
    assert words in str(error)
    assert "HTTP 307" in str(error)
    assert "hidden" not in str(error)
    assert len(server.heads) == 2  # the second asks whether it is so for all


def test_a_redirect_of_one_row_is_its_own():
    error = failed(answers(reply(b"", "302 Found", more="Location: https://firewall.example/blocked\r\n")))
    assert (error.code, "redirects to https://firewall.example/blocked" in error.message) == (
        "redirected",
        True,
    )


def streamed(raw: bytes, content_type: str = "text/event-stream") -> Answer:
    return answers(reply(raw, content_type=content_type))


@pytest.mark.parametrize("content_type", ["text/event-stream; charset=utf-8", "application/json"])
def test_a_stream_that_nobody_asked_for_is_read_as_it_is(content_type: str):
    text, server = asked(streamed(HELLO, content_type), tries=3)
    assert (text, len(server.heads)) == ("Grüße, €🙂", 3)


def test_a_stream_is_asked_for_where_the_endpoint_only_streams():
    bodies: list[dict[str, Any]] = []

    async def only_streams(head: bytes, body: bytes, writer: StreamWriter) -> None:
        bodies.append(orjson.loads(body))
        if not bodies[-1].get("stream"):
            error = b'{"error": {"message": "This model only support stream mode, please enable the stream parameter"}}'
            writer.write(reply(error, "400 Bad Request"))
            return
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        for byte in HELLO:  # cut everywhere
            writer.write(b"1\r\n" + bytes([byte]) + b"\r\n")
        writer.write(b"0\r\n\r\n")

    assert "say options.stream: true" in failed(only_streams).message
    bodies.clear()
    assert asked(only_streams, stream=True)[0] == "Grüße, €🙂"
    assert bodies[0]["stream_options"] == {"include_usage": True}
    assert asked(only_streams, stream=True, extra_body={"stream_options": None})[0] == "Grüße, €🙂"
    assert bodies[1]["stream_options"] is None


def test_an_answer_in_one_piece_will_do_where_a_stream_was_asked_for():
    assert asked(answers(reply(whole())), stream=True)[0] == "well"


def test_an_answer_in_one_piece_may_be_called_a_stream():
    assert asked(streamed(b" " + whole("well")), stream=True)[0] == "well"


def test_nobody_speaks_of_a_proxy_where_there_is_none():
    assert "proxy" not in str(stopped(answers(reply(b"", "407 X"))))


async def _open_stream(writer: StreamWriter, raw: bytes) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n" + raw)
    await writer.drain()


def test_a_stream_that_breaks_off_is_asked_for_again():
    calls: list[int] = []

    async def cut_once(head: bytes, body: bytes, writer: StreamWriter) -> None:
        calls.append(1)
        await _open_stream(writer, HELLO if len(calls) > 1 else HELLO[:120])
        writer.close()

    assert asked(cut_once, stream=True, max_retries=1)[0] == "Grüße, €🙂"
    calls.clear()
    error = failed(cut_once, stream=True)
    assert (error.code, "the stream ended before the answer did" in error.message) == ("bad_answer", True)


def test_an_error_in_a_stream_has_its_own_status():
    too_long = b'data: {"error": {"message": "maximum context length is 10 tokens", "code": 400}}\n\n'
    assert failed(streamed(too_long)).code == "prompt_too_long"
    assert failed(streamed(event(delta(content="a")) + b"data: <html>\n\n")).code == "bad_answer"


def test_a_stream_that_falls_silent_is_given_up():
    async def silent(head: bytes, body: bytes, writer: StreamWriter) -> None:
        await asyncio.sleep(0.2)  # before the first piece it may think
        await _open_stream(writer, event(delta(content="a")))
        await asyncio.sleep(20)

    error = failed(silent, stream=True, silence_s=0.05)
    assert (error.code, "fell silent for 0.05 s (silence_s)" in error.message) == ("timeout", True)
    error = failed(silent, stream=True, timeout_s=0.5)
    assert "no answer in 0.5 s (timeout_s)" in error.message


def test_a_connection_that_stays_open_after_the_end_does_not_hold_the_row():
    async def holds(head: bytes, body: bytes, writer: StreamWriter) -> None:
        await _open_stream(writer, event(delta(content="a", finish="stop")) + DONE)
        await asyncio.sleep(20)

    assert asked(holds, stream=True, timeout_s=5)[0] == "a"


@pytest.mark.parametrize("content_type", ["application/json", "text/event-stream"])
def test_an_answer_without_end_is_no_answer(content_type: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(endpoint_http, "MAX_ANSWER_BYTES", 100_000)
    body = (
        whole("x" * 200_000) if "json" in content_type else event(delta(content="x" * 200_000, finish="stop"))
    )
    error = failed(streamed(body, content_type))
    assert (error.code, "more than 100000 bytes" in error.message) == ("bad_answer", True)


def test_a_host_without_an_address_recalls_the_proxy():
    async def main() -> None:
        engine = engine_of("http://no-such-host.invalid/v1", max_retries=0)
        await engine.start()
        with pytest.raises(
            (RowError, EngineConfigError), match=r"no proxy is set for it: HTTP_PROXY, HTTPS_PROXY"
        ):
            await engine.generate(request())
        await engine.close()

    run(main())
