"""The way to an endpoint and back: connections, headers, one POST, and what network errors mean."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from raygen.engines.openai.backoff import retry_after_s
from raygen.engines.openai.breaker import Why
from raygen.engines.openai.chat_completions import Action, Trouble
from raygen.engines.openai.event_stream import EventStream, is_event_stream
from raygen.engines.openai.options import EndpointOptions
from raygen.engines.openai.proxy import Proxy, proxy_of
from raygen.engines.openai.secrets import EndpointSecrets
from raygen.engines.openai.tls import certificate_fault, tls_context
from raygen.errors import EngineConfigError

if TYPE_CHECKING:
    import aiohttp

PATH = "/chat/completions"
KEEPALIVE_S = 4.0  # below uvicorn's 5 s, so that a connection is not used just as the server closes it
CONNECT_S = 30.0
LINGER_S = 0.5  # for the end of a body whose stream is done: its connection can then be used again
MAX_ANSWER_BYTES = 256 * 2**20
MESSAGE_CHARS = 300


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back, whatever its status."""

    status: int
    raw: bytes
    asked_s: float | None  # the silence that its Retry-After asks for; None when the status is 200


class EndpointHTTP:
    """The connections to one endpoint; built inside the event loop that uses it.

    Args:
        owner: whose endpoint it is, for messages: `model 'writer'`.
        user_agent: what the endpoint is told about the program.

    Raises:
        EngineConfigError: a variable that holds a key, a header or a proxy is not set or of no use; a certificate's
            file cannot be read.
    """

    def __init__(self, owner: str, options: EndpointOptions, user_agent: str) -> None:
        import aiohttp
        from yarl import URL

        self._options = options
        self._proxy: Proxy | None = None
        if options.proxy == "env":
            try:
                self._proxy = proxy_of(options.base_url, os.environ)
            except EngineConfigError as error:
                raise EngineConfigError(f"{owner}: {error}") from None
        self._secrets = EndpointSecrets(owner, options, self._proxy.secrets if self._proxy else ())
        self.key = self._secrets.key
        # Compressed answers would cost more than they save: texts are short.
        headers = {
            "Content-Type": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": user_agent,
        }
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        own = self._secrets.headers
        # Names are the same whatever their case: the job's own take the place of ours.
        headers = {name: value for name, value in headers.items() if name.lower() not in map(str.lower, own)}
        self._shown = f"{options.base_url}{PATH}"
        self._url = URL(self._shown).update_query(options.query | self._secrets.query)
        # Read even where http:// needs none of them: a wrong path is told before work.
        tls = tls_context(owner, options.ca_file, options.client_cert, options.client_key)
        self._session: aiohttp.ClientSession = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                # One more: a probe must not wait for requests that hang.
                limit=options.concurrency + 1,
                keepalive_timeout=KEEPALIVE_S,
                ssl=tls,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=headers | own,
            timeout=aiohttp.ClientTimeout(total=options.timeout_s, sock_connect=CONNECT_S),
            proxy=self._proxy.url if self._proxy else None,
        )

    async def close(self) -> None:
        await self._session.close()

    async def post(self, body: bytes) -> Reply | Trouble:
        """Send one request's body and return the endpoint's reply, or why there is none."""
        import aiohttp

        # aiohttp sends bytes in one piece, and warns above 1 MiB; a file object it sends in slices.
        data = body if len(body) <= 2**20 else io.BytesIO(body)
        try:
            async with self._session.post(self._url, data=data, allow_redirects=False) as response:
                return await self._receive(response)
        except aiohttp.ConnectionTimeoutError:
            return self._unsent(f"no connection to {self._way()} in {CONNECT_S:g} s", Why.UNREACHED)
        except TimeoutError:
            message = f"no answer in {self._options.timeout_s:g} s (timeout_s)"
            return Trouble(Action.RETRY, "timeout", message, why=Why.TIMEOUT)
        except aiohttp.ClientConnectorCertificateError as error:
            fault = certificate_fault(error.certificate_error, self._proxy is not None)
            return self._of_no_use(f"no connection to {self._way()}: {fault}", Why.TLS)
        except aiohttp.ClientHttpProxyError as error:
            return self._refused_by_proxy(error.status, error.message)
        except aiohttp.ClientConnectorError as error:
            return self._no_connection(error)
        except (aiohttp.ClientError, OSError) as error:
            return self._unreachable(f"{self._way()}: {type(error).__name__}: {error}")

    def clean(self, message: str, longest: int = MESSAGE_CHARS) -> str:
        """Return a message on one line, without secrets, and not too long."""
        message = self._secrets.hide(" ".join(message.split()))
        return message if len(message) <= longest else message[: longest - 1] + "…"

    def doubt(self, status: int) -> str | None:
        """Return words for an answer of which nobody can tell whether it is the endpoint's or its proxy's; else None."""
        if self._proxy is None or self._url.scheme == "https" or status not in (403, 502, 503, 504):
            return None
        return f"or {self._proxy} says so"

    async def _receive(self, response: aiohttp.ClientResponse) -> Reply | Trouble:
        status = response.status
        if 300 <= status < 400:
            return self._redirected(status, response.headers.get("Location"))
        if status == 407 and self._proxy is not None:
            return self._refused_by_proxy(status, response.reason or "")
        if status == 200 and response.content_type == "text/event-stream":
            return await self._read_stream(response)
        raw = await _read_whole(response)
        if raw is None:
            return _too_large()
        if status != 200:
            return Reply(status, raw, retry_after_s(response.headers.get("Retry-After"), time.time()))
        if is_event_stream(raw):  # under another name
            stream = EventStream()
            stream.feed(raw)
            return _reply(stream)
        return Reply(200, raw, None)

    async def _read_stream(self, response: aiohttp.ClientResponse) -> Reply | Trouble:
        """Put a streamed answer together as it comes."""
        stream, size = EventStream(), 0
        while not stream.done:
            # Before its first piece an endpoint may think, or let the request wait.
            limit_s = self._options.silence_s if stream.pieces else None
            timer = asyncio.timeout(limit_s)
            try:
                async with timer:
                    data = await response.content.readany()
            except TimeoutError:
                if not timer.expired():
                    raise
                message = f"the answer's stream fell silent for {limit_s:g} s (silence_s)"
                return Trouble(Action.RETRY, "timeout", message, why=Why.TIMEOUT)
            if not data:
                break
            if not size and data.lstrip().startswith(b"{"):  # no stream, whatever it is called
                rest = await _read_whole(response)
                return _too_large() if rest is None else Reply(200, data + rest, None)
            size += len(data)
            if size > MAX_ANSWER_BYTES:
                return _too_large()
            stream.feed(data)
        if stream.done:
            # The last bytes of a body, when they come at once, let its connection be used again.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LINGER_S):
                    while await response.content.readany():
                        pass
        return _reply(stream)

    def _redirected(self, status: int, location: str | None) -> Trouble:
        """Redirects are not followed: a key would go where nobody said that it may, a POST become a GET."""
        if location is None:
            return _redirect(status, f"{self._way()}: HTTP {status}: a redirect to nowhere")
        parts = urlsplit(urljoin(self._shown, location))
        # No user, no query: they may hold secrets.
        target = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        if target.endswith(PATH) and target != self._shown:
            remedy = f"if that is the endpoint, say base_url: {target.removesuffix(PATH)}"
        else:
            remedy = "that is no endpoint: a page to sign in at, perhaps; look at base_url"
        return _redirect(
            status, f"{self._way()}: HTTP {status}: redirects to {target}, which is not followed; {remedy}"
        )

    def _refused_by_proxy(self, status: int, reason: str) -> Trouble:
        message = f"{self._way()}: the proxy answers HTTP {status} {reason}".rstrip()
        if status == 407:
            return self._of_no_use(
                f"{message}; it wants a user and a password, http://USER:PASSWORD@HOST:PORT, or others than these",
                status,
            )
        if status in (408, 429) or status >= 500:
            return self._unsent(message, Why.UNREACHED)
        return self._of_no_use(
            f"{message}; it does not let this host through, or NO_PROXY should except it", status
        )

    def _no_connection(self, error: aiohttp.ClientConnectorError) -> Trouble:
        import aiohttp

        if getattr(error.os_error, "reason", None) == "WRONG_VERSION_NUMBER":
            message = f"no connection to {self._way()}: https:// was said, but no TLS is spoken there"
            return self._of_no_use(message, Why.TLS)
        refused = isinstance(error.os_error, ConnectionRefusedError)
        why = "nothing listens there" if refused else error.os_error.strerror or str(error.os_error)
        where = self._way()
        if self._proxy is not None and error.host == self._proxy.host:
            where = str(self._proxy)
        elif isinstance(error, aiohttp.ClientConnectorDNSError):
            why += " (no proxy is set for it: HTTP_PROXY, HTTPS_PROXY)"
        return self._unsent(f"no connection to {where}: {why}", _why(error))

    def _way(self) -> str:
        return self._shown if self._proxy is None else f"{self._shown} through {self._proxy}"

    def _unreachable(self, message: str) -> Trouble:
        return Trouble(Action.RETRY, "endpoint_unavailable", message, why=Why.BROKEN)

    def _unsent(self, message: str, why: Why) -> Trouble:
        return Trouble(Action.UNSENT, "endpoint_unavailable", message, why=why)

    def _of_no_use(self, message: str, why: int) -> Trouble:
        """Say that no request can get through as things are, and what to do about it."""
        return Trouble(Action.DENIED, "unreachable", message, why=why)


async def _read_whole(response: aiohttp.ClientResponse) -> bytes | None:
    """Return a body; None: it is too large."""
    pieces, size = [], 0
    async for piece in response.content.iter_any():
        pieces.append(piece)
        size += len(piece)
        if size > MAX_ANSWER_BYTES:
            return None
    return b"".join(pieces)


def _reply(stream: EventStream) -> Reply | Trouble:
    answer = stream.answer()
    return answer if isinstance(answer, Trouble) else Reply(*answer, None)


def _too_large() -> Trouble:
    message = f"an answer of more than {MAX_ANSWER_BYTES} bytes"
    return Trouble(Action.RETRY, "bad_answer", message, why=Why.NONSENSE)


def _redirect(status: int, message: str) -> Trouble:
    """Of all requests, or of those that a firewall does not like."""
    return Trouble(Action.DENIED, "redirected", message, why=status)


def _why(error: aiohttp.ClientConnectorError) -> Why:
    import aiohttp

    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return Why.NAME
    if isinstance(error, aiohttp.ClientSSLError):
        return Why.TLS
    return Why.REFUSED if isinstance(error.os_error, ConnectionRefusedError) else Why.UNREACHED
