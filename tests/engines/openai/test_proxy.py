"""Which proxy is used, and an engine that goes through one."""

from __future__ import annotations

import asyncio
import base64
from asyncio import StreamWriter
from pathlib import Path

import pytest

from raygen.engines.openai.proxy import proxy_of
from raygen.errors import EngineConfigError, RowError
from tests.engines.asked import engine_of, request, run, texts
from tests.engines.openai.raw_server import Answer, Authority, RawServer, answers, reply, whole

pytestmark = pytest.mark.usefixtures("quick_endpoints")
HOST = "models.internal.example"
PROXY = "http://proxy.example:3128"


def named(url: str, **environ: str) -> str | None:
    proxy = proxy_of(url, environ)
    return None if proxy is None else proxy.name


def test_the_proxy_is_the_one_of_the_scheme_else_that_of_all():
    everything = {"HTTP_PROXY": "http://a:1", "HTTPS_PROXY": "http://b:2", "ALL_PROXY": "http://c:3"}
    assert named("http://x/v1", **everything) == "http://a:1"
    assert named("https://x/v1", **everything) == "http://b:2"
    assert named("https://x/v1", HTTP_PROXY="http://a:1") is None
    assert named("https://x/v1", HTTP_PROXY="http://a:1", ALL_PROXY="http://c:3") == "http://c:3"
    assert named("https://x/v1") is None


def test_small_letters_win_and_an_empty_variable_is_no_proxy():
    assert named("http://x/v1", http_proxy="http://a:1", HTTP_PROXY="http://b:2") == "http://a:1"
    assert named("http://x/v1", http_proxy="", HTTP_PROXY="http://b:2", ALL_PROXY="http://c:3") is None
    assert named("http://x/v1", all_proxy="http://a:1", no_proxy="y", NO_PROXY="x") == "http://a:1"


def test_a_proxy_may_be_named_without_its_scheme_or_port():
    assert named("http://x/v1", http_proxy="proxy.example:3128") == PROXY
    assert named("http://x/v1", http_proxy="https://proxy.example") == "https://proxy.example:443"
    assert named("http://x/v1", http_proxy="http://[fd00::1]:3128/") == "http://[fd00::1]:3128"


@pytest.mark.parametrize(
    ("host", "no_proxy", "excepted"),
    [
        ("a.corp.example", "corp.example", True),
        ("a.corp.example", ".corp.example", True),
        ("a.corp.example", "*.corp.example", True),
        ("corp.example", "corp.example, other", True),
        ("corp.example", ".CORP.example", True),
        ("acorp.example", "corp.example", False),
        ("a.corp.example", "a.corp.example:8000", True),
        ("a.corp.example", "a.corp.example:9000", False),
        ("a.corp.example", "*", True),
        ("a.corp.example", "", False),
        ("10.1.2.3", "10.0.0.0/8", True),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3", "10.1.2.3:9000", False),
        ("11.1.2.3", "10.0.0.0/8,192.168.0.0/16", False),
        ("[fd00::7]", "fd00::/8", True),
        ("[fd00::7]", "[fd00::7]:8000", True),
        ("a.corp.example", "10.0.0.0/8 corp.example", True),
    ],
)
def test_no_proxy_excepts_names_addresses_and_networks(host: str, no_proxy: str, excepted: bool):
    found = named(f"http://{host}:8000/v1", HTTP_PROXY=PROXY, NO_PROXY=no_proxy)
    assert found == (None if excepted else PROXY)


@pytest.mark.parametrize(
    "host", ["localhost", "vllm.localhost", "127.0.0.1", "127.9.9.9", "[::1]", "0.0.0.0"]
)
def test_this_machine_is_never_reached_through_a_proxy(host: str):
    assert named(f"http://{host}:8000/v1", HTTP_PROXY=PROXY, ALL_PROXY=PROXY) is None


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (
            "socks5://me:hunter22@p:1080",
            r"ALL_PROXY names a SOCKS proxy \(socks5://\), which is not supported",
        ),
        ("socks5h://p:1080", "except x in NO_PROXY, or say options.proxy: none"),
        ("ftp://me:hunter22@p:21", "ALL_PROXY holds no proxy's URL"),
        ("http://me:hunter22@p:port", "ALL_PROXY holds no proxy's URL"),
        ("http://", "ALL_PROXY holds no proxy's URL"),
    ],
)
def test_what_is_no_http_proxy_is_refused_without_its_password(value: str, says: str):
    with pytest.raises(EngineConfigError, match=says) as caught:
        proxy_of("https://x/v1", {"ALL_PROXY": value})
    assert "hunter22" not in str(caught.value)


def test_the_password_stands_in_no_name_of_a_proxy():
    proxy = proxy_of("https://x/v1", {"https_proxy": "http://me:hunt%20r22@p:1"})
    assert proxy is not None
    assert proxy.url == "http://me:hunt%20r22@p:1"
    assert (str(proxy), "hunt" in repr(proxy)) == ("the proxy http://p:1 (https_proxy)", False)


def test_a_host_that_only_the_proxy_knows_is_reached(monkeypatch: pytest.MonkeyPatch):
    async def main() -> None:
        async with RawServer(answers(reply(whole()))) as proxy:
            monkeypatch.setenv("HTTP_PROXY", f"http://me:p%40ss@127.0.0.1:{proxy.port}")
            engine = engine_of(f"http://{HOST}/v1")
            await engine.start()
            for _ in range(2):
                assert texts(await engine.generate(request())) == ["well"]
            await engine.close()
            user = base64.b64encode(b"me:p@ss")
            for head in proxy.heads:
                assert head.startswith(f"POST http://{HOST}/v1/chat/completions HTTP/1.1\r\n".encode())
                assert b"\r\nProxy-Authorization: Basic " + user + b"\r\n" in head

    run(main())


def through_a_tunnel(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, ca_file: Path | None, proxy_tls: bool = False
) -> tuple[RawServer, RawServer, str | BaseException]:
    """Ask a TLS endpoint through a proxy; return the proxy, the endpoint, and the text or what was raised."""

    async def main() -> tuple[RawServer, RawServer, str | BaseException]:
        opened = answers(b"HTTP/1.1 200 Connection established\r\n\r\n")
        endpoint = RawServer(answers(reply(whole())), authority.server(HOST))
        proxy = RawServer(opened, authority.server("127.0.0.1") if proxy_tls else None)
        async with endpoint, proxy:
            proxy.beyond = endpoint.port  # type: ignore[attr-defined]
            scheme = "https" if proxy_tls else "http"
            monkeypatch.setenv("https_proxy", f"{scheme}://me:hunter22@127.0.0.1:{proxy.port}")
            monkeypatch.setenv("OPENAI_API_KEY", "sk-for-the-endpoint")
            engine = engine_of(f"https://{HOST}/v1", ca_file=str(ca_file) if ca_file else None)
            await engine.start()
            try:
                return proxy, endpoint, texts(await engine.generate(request()))[0]
            except (EngineConfigError, RowError) as error:
                return proxy, endpoint, error
            finally:
                await engine.close()

    result: tuple[RawServer, RawServer, str | BaseException] = run(main())
    return result


@pytest.mark.parametrize("proxy_tls", [False, True])
def test_https_goes_through_a_tunnel_and_the_proxy_sees_no_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proxy_tls: bool
):
    authority = Authority(tmp_path)
    proxy, endpoint, text = through_a_tunnel(authority, monkeypatch, authority.file, proxy_tls)
    assert text == "well"
    (asked,) = proxy.heads
    assert asked.startswith(f"CONNECT {HOST}:443 HTTP/1.1\r\n".encode())
    assert b"Proxy-Authorization: Basic " + base64.b64encode(b"me:hunter22") in asked
    assert b"sk-for" not in asked
    (head,) = endpoint.heads
    assert b"Authorization: Bearer sk-for-the-endpoint" in head
    assert b"Proxy-Authorization" not in head


def test_a_proxy_that_looks_into_tls_is_named_where_its_certificate_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    _, _, error = through_a_tunnel(Authority(tmp_path), monkeypatch, None)
    assert isinstance(error, EngineConfigError)
    for words in (f"{HOST}/v1", "through the proxy http://127.0.0.1:", "options.ca_file", "or of the proxy"):
        assert words in str(error)
    assert "hunter22" not in str(error)


def refused_by(answer: Answer, url: str, monkeypatch: pytest.MonkeyPatch) -> BaseException:
    async def main() -> BaseException:
        async with RawServer(answer) as proxy:
            monkeypatch.setenv("ALL_PROXY", f"http://me:hunter22@127.0.0.1:{proxy.port}")
            engine = engine_of(url, max_retries=1)
            await engine.start()
            try:
                with pytest.raises((EngineConfigError, RowError)) as caught:
                    await engine.generate(request())
            finally:
                await engine.close()
            assert "hunter22" not in str(caught.value)
            assert "the proxy http://127.0.0.1:" in str(caught.value)
            return caught.value

    error: BaseException = run(main())
    return error


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_wants_another_user_stops_the_engine(scheme: str, monkeypatch: pytest.MonkeyPatch):
    says = reply(b"", "407 Proxy Authentication Required", more='Proxy-Authenticate: Basic realm="corp"\r\n')
    error = refused_by(answers(says), f"{scheme}://{HOST}/v1", monkeypatch)
    assert isinstance(error, EngineConfigError)
    assert "the proxy answers HTTP 407" in str(error)
    assert "USER:PASSWORD" in str(error)


def test_a_proxy_that_refuses_the_host_stops_the_engine(monkeypatch: pytest.MonkeyPatch):
    error = refused_by(answers(reply(b"", "403 Forbidden")), f"https://{HOST}/v1", monkeypatch)
    assert isinstance(error, EngineConfigError)
    assert "HTTP 403 Forbidden; it does not let this host through" in str(error)


def test_a_proxy_that_cannot_reach_the_host_now_is_asked_again(monkeypatch: pytest.MonkeyPatch):
    error = refused_by(answers(reply(b"", "503 Service Unavailable")), f"https://{HOST}/v1", monkeypatch)
    assert "the proxy answers HTTP 503 Service Unavailable" in str(error)


def test_of_a_refusal_nobody_can_tell_whose_it_is(monkeypatch: pytest.MonkeyPatch):
    error = refused_by(answers(reply(b"<html>blocked", "403 Forbidden")), f"http://{HOST}/v1", monkeypatch)
    assert "HTTP 403: <html>blocked; or the proxy http://127.0.0.1:" in str(error)


def test_a_proxy_that_is_gone_is_named(monkeypatch: pytest.MonkeyPatch):
    async def main() -> None:
        async with RawServer(answers(b"")) as proxy:
            pass
        monkeypatch.setenv("HTTP_PROXY", f"http://me:hunter22@127.0.0.1:{proxy.port}")
        engine = engine_of(f"http://{HOST}/v1", max_retries=0)
        await engine.start()
        says = (
            rf"no connection to the proxy http://127.0.0.1:{proxy.port} \(HTTP_PROXY\): nothing listens there"
        )
        with pytest.raises((RowError, EngineConfigError), match=says):
            await engine.generate(request())
        await engine.close()

    run(main())


def test_a_proxy_can_be_left_alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HTTP_PROXY", "socks5://p:1080")
    engine = engine_of(f"http://{HOST}/v1", proxy="none")
    run(engine.start())
    run(engine.close())
    with pytest.raises(
        EngineConfigError, match="model 'writer': environment variable HTTP_PROXY names a SOCKS"
    ):
        run(engine_of(f"http://{HOST}/v1").start())


def test_a_cancelled_tunnel_leaves_nothing_open(monkeypatch: pytest.MonkeyPatch):
    async def never(head: bytes, body: bytes, writer: StreamWriter) -> None:
        await asyncio.sleep(30)

    async def main() -> None:
        async with RawServer(never) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
            engine = engine_of(f"https://{HOST}/v1")
            await engine.start()
            task = asyncio.create_task(engine.generate(request()))
            while not proxy.heads:
                await asyncio.sleep(0.005)
            task.cancel()
            await asyncio.wait([task])
            assert engine.stats.in_flight == 0
            await engine.close()

    run(main())
