"""A loopback server that a test answers by hand, byte by byte; plain, with TLS, or as a forward proxy."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from asyncio import StreamReader, StreamWriter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Answer = Callable[[bytes, bytes, StreamWriter], Awaitable[None]]


class RawServer:
    """`async with RawServer(answer) as server`: `answer(head, body, writer)` is called once a request.

    Attributes:
        heads: request lines and headers of all requests, in order.
    """

    def __init__(self, answer: Answer, tls: ssl.SSLContext | None = None) -> None:
        self._answer = answer
        self._tls = tls
        self.heads: list[bytes] = []

    async def __aenter__(self) -> RawServer:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        scheme = "https" if self._tls else "http"
        self.url = f"{scheme}://127.0.0.1:{self.port}/v1"
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                first = await reader.readexactly(1)
                if first == b"\x16":  # TLS, of which this server speaks none
                    writer.write(reply(b"", "400 Bad Request"))
                    break
                head = first + await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head)
                if head.startswith(b"CONNECT"):
                    await self._tunnel(head, reader, writer)
                    break
                at = head.lower().find(b"content-length:")
                length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
                await self._answer(head, await reader.readexactly(length), writer)
                await writer.drain()
                if writer.is_closing():
                    break
        writer.close()

    async def _tunnel(self, head: bytes, reader: StreamReader, writer: StreamWriter) -> None:
        """Let the test answer; where it says 200, the other end is `self.beyond`, whatever name was asked for."""
        await self._answer(head, b"", writer)
        if not isinstance(beyond := getattr(self, "beyond", None), int):
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", beyond)
        await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))


async def _pump(reader: StreamReader, writer: StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


def whole(text: str = "well", **fields: Any) -> bytes:
    """Return the body of an answer in one piece."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 1, "completion_tokens": 2}
    return orjson.dumps({"choices": [choice], "usage": usage} | fields)


def reply(
    body: bytes, status: str = "200 OK", content_type: str = "application/json", more: str = ""
) -> bytes:
    """Return an HTTP response as it is sent."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n{more}\r\n"
    return head.encode() + body


def answers(data: bytes) -> Answer:
    """Answer every request with the same bytes."""

    async def answer(head: bytes, body: bytes, writer: StreamWriter) -> None:
        writer.write(data)

    return answer


class Authority:
    """A certificate authority, made for one test: `file` is its certificate."""

    def __init__(self, folder: Path, name: str = "Test Authority") -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._certificate = self._signed(self._name, self._key, x509.BasicConstraints(True, None), [])
        self.file = folder / f"{name.replace(' ', '_')}.pem"
        self.file.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, host: str, days: int = 2, password: bytes | None = None) -> Path:
        """Return a PEM file with a key and its certificate for a host, or for an address."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        try:
            import ipaddress

            names: list[x509.GeneralName] = [x509.IPAddress(ipaddress.ip_address(host))]
        except ValueError:
            names = [x509.DNSName(host)]
        certificate = self._signed(subject, key, x509.BasicConstraints(False, None), names, days)
        how = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
        path = self._folder / f"{host}.pem"
        path.write_bytes(
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how)
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        return path

    def server(self, host: str, days: int = 2) -> ssl.SSLContext:
        """Return a server's side of TLS, with a certificate for a host."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.issue(host, days))
        return context

    def _signed(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        kind: x509.BasicConstraints,
        names: list[x509.GeneralName],
        days: int = 2,
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=5))
            .not_valid_after(now + timedelta(days=days))
            .add_extension(kind, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self._key, hashes.SHA256())
