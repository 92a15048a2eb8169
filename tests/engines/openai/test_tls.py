"""Whom an endpoint's engine trusts, and what it says of a certificate that is refused."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest

from raygen.engines.openai.tls import tls_context
from raygen.errors import EngineConfigError, RowError
from tests.engines.asked import engine_of, request, run, texts
from tests.engines.openai.raw_server import Authority, RawServer, answers, reply, whole

pytestmark = pytest.mark.usefixtures("quick_endpoints")


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    return Authority(tmp_path)


def ask(
    tls: ssl.SSLContext | None, url: str = "https://127.0.0.1:{port}/v1", **options: Any
) -> tuple[str | BaseException, int]:
    """Return the text, or what was raised, and the number of requests that came through."""

    async def main() -> tuple[str | BaseException, int]:
        async with RawServer(answers(reply(whole())), tls) as server:
            engine = engine_of(url.format(port=server.port), **options)
            await engine.start()
            try:
                return texts(await engine.generate(request()))[0], len(server.heads)
            except (EngineConfigError, RowError) as error:
                return error, len(server.heads)
            finally:
                await engine.close()

    found: tuple[str | BaseException, int] = run(main())
    return found


def test_an_authority_in_ca_file_is_trusted(authority: Authority):
    assert ask(authority.server("127.0.0.1"), ca_file=str(authority.file)) == ("well", 1)


def test_an_authority_in_ssl_cert_file_is_trusted(authority: Authority, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    assert ask(authority.server("127.0.0.1"))[0] == "well"


def test_an_unknown_authority_stops_the_engine_at_once(authority: Authority):
    handshakes: list[int] = []
    tls = authority.server("127.0.0.1")
    tls.sni_callback = lambda *_: handshakes.append(1)
    error, asked = ask(tls, url="https://localhost:{port}/v1")
    assert isinstance(error, EngineConfigError)
    assert "model 'writer': no connection to https://localhost" in str(error)
    assert "options.ca_file, or in SSL_CERT_FILE" in str(error)
    assert (asked, len(handshakes)) == (0, 2)  # a row, and whether it is so for all


def test_a_variable_that_names_no_file_is_told(authority: Authority, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/ca.pem")
    error, _ = ask(authority.server("127.0.0.1"))
    assert "SSL_CERT_FILE names /nowhere/ca.pem, which cannot be read here" in str(error)


def test_a_certificate_for_another_host_and_one_that_expired_have_other_remedies(authority: Authority):
    error, _ = ask(authority.server("other.example"), ca_file=str(authority.file))
    assert isinstance(error, EngineConfigError)
    assert "base_url has to name the host as the certificate does" in str(error)
    error, _ = ask(authority.server("127.0.0.1", days=-1), ca_file=str(authority.file))
    assert isinstance(error, EngineConfigError)
    assert "has expired; the endpoint needs a new one" in str(error)


def test_https_to_a_plain_port_is_told():
    error, _ = ask(None)
    assert isinstance(error, EngineConfigError)
    assert "https:// was said, but no TLS is spoken there" in str(error)


def test_a_client_shows_its_certificate(authority: Authority):
    tls = authority.server("127.0.0.1")
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.load_verify_locations(authority.file)
    trusted = {"ca_file": str(authority.file), "max_retries": 0}
    refused, asked = ask(tls, **trusted)
    assert isinstance(refused, RowError | EngineConfigError)
    assert asked == 0
    assert ask(tls, client_cert=str(authority.issue("client")), **trusted)[0] == "well"


def test_a_certificate_and_its_key_may_have_a_file_each(authority: Authority, tmp_path: Path):
    both = authority.issue("client").read_text()
    key, certificate = both.split("-----BEGIN CERT", 1)
    (tmp_path / "key").write_text(key)
    (tmp_path / "cert").write_text("-----BEGIN CERT" + certificate)
    tls_context("model 'm'", None, str(tmp_path / "cert"), str(tmp_path / "key"))
    with pytest.raises(
        EngineConfigError, match=r"'m': client_cert .*cert and its key hold no certificate with its key"
    ):
        tls_context("model 'm'", None, str(tmp_path / "cert"), None)


def test_files_that_are_of_no_use_are_refused_before_work(authority: Authority, tmp_path: Path):
    (tmp_path / "empty.pem").write_text("no certificate")
    locked = authority.issue("locked", password=b"hunter22")
    for options, says in [
        (
            {"ca_file": "/nowhere/ca.pem"},
            r"ca_file /nowhere/ca.pem: No such file or directory; it has to be on every",
        ),
        ({"ca_file": str(tmp_path)}, "Is a directory"),
        ({"ca_file": str(tmp_path / "empty.pem")}, "empty.pem holds no certificate in PEM form"),
        ({"client_cert": "/nowhere/me.pem"}, "client_cert /nowhere/me.pem: No such file"),
        ({"client_cert": str(authority.file), "client_key": "/nowhere/k"}, "client_key /nowhere/k: No such"),
        ({"client_cert": str(locked)}, "the key in .*locked.pem is encrypted; give one without a password"),
    ]:
        with pytest.raises(EngineConfigError, match=f"model 'writer': .*{says}"):
            run(engine_of("https://127.0.0.1:1/v1", **options).start())
