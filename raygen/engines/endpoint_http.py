"""The way to an endpoint and back: connections, headers, the key, one POST, and what network errors mean."""

from __future__ import annotations

import io
import os
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, field_validator

from raygen.config import Frozen
from raygen.engines.backoff import retry_after_s
from raygen.engines.chat_completions import Action, Trouble
from raygen.errors import EngineConfigError

if TYPE_CHECKING:
    import aiohttp

DEFAULT_KEY_ENV = "OPENAI_API_KEY"
KEEPALIVE_S = 4.0  # below uvicorn's 5 s, so that a connection is not used just as the server closes it
CONNECT_S = 30.0
MESSAGE_CHARS = 300


class EndpointOptions(Frozen):
    """How an endpoint is reached."""

    model_config = ConfigDict(hide_input_in_errors=True)  # a key put in a wrong place must not be printed

    base_url: str = Field(description="up to and without /chat/completions: http://127.0.0.1:8000/v1")
    concurrency: int = Field(64, ge=1, le=4096, description="the most requests in flight")
    timeout_s: float = Field(600.0, gt=0, le=86_400, description="of one request, its answer included")
    api_key_env: str = Field(DEFAULT_KEY_ENV, description="the environment variable that holds the key")

    @field_validator("base_url")
    @classmethod
    def _plain_http_url(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must be an http:// or https:// URL, such as http://127.0.0.1:8000/v1")
        if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
            raise ValueError(
                "must hold no user, password, query or fragment; the key comes from `api_key_env`"
            )
        if parts.path.rstrip("/").endswith("/completions"):
            raise ValueError("give the part before /chat/completions")
        return value.rstrip("/")

    @field_validator("api_key_env")
    @classmethod
    def _name_not_key(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Z_][A-Z0-9_]*", value):  # keys have small letters: one put here is not taken
            raise ValueError("must name an environment variable (A-Z, 0-9, _), never hold the key itself")
        return value


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
        EngineConfigError: the key's variable is not set, or holds what no key may hold.
    """

    def __init__(self, owner: str, options: EndpointOptions, user_agent: str) -> None:
        import aiohttp
        from yarl import URL

        self._owner = owner
        self._options = options
        self.key = self._read_key()
        # Compressed answers would cost more than they save: texts are short.
        headers = {
            "Content-Type": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": user_agent,
        }
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        self._url = URL(f"{options.base_url}/chat/completions")
        self._session: aiohttp.ClientSession = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=options.concurrency, keepalive_timeout=KEEPALIVE_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=options.timeout_s, sock_connect=CONNECT_S),
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
                raw = await response.read()
        except aiohttp.ConnectionTimeoutError:
            return self._unreachable(f"no connection to {self._url} in {CONNECT_S:g} s")
        except TimeoutError:
            message = f"no answer in {self._options.timeout_s:g} s (timeout_s)"
            return Trouble(Action.RETRY, "timeout", message)
        except aiohttp.ClientConnectorError as error:
            refused = isinstance(error.os_error, ConnectionRefusedError)
            why = "nothing listens there" if refused else error.os_error.strerror or error.os_error
            return self._unreachable(f"no connection to {self._url}: {why}")
        except (aiohttp.ClientError, OSError) as error:
            return self._unreachable(f"{self._url}: {type(error).__name__}: {error}")
        asked_s = None
        if response.status != 200:
            asked_s = retry_after_s(response.headers.get("Retry-After"), time.time())
        return Reply(response.status, raw, asked_s)

    def clean(self, message: str) -> str:
        """Return a message on one line, without secrets, and not too long."""
        message = " ".join(message.split())
        if self.key:
            message = message.replace(self.key, "***")
        return message if len(message) <= MESSAGE_CHARS else message[: MESSAGE_CHARS - 1] + "…"

    def _unreachable(self, message: str) -> Trouble:
        return Trouble(Action.RETRY, "endpoint_unavailable", message)

    def _read_key(self) -> str:
        name = self._options.api_key_env
        key = os.environ.get(name, "").strip()
        if not key and "api_key_env" in self._options.model_fields_set:
            raise EngineConfigError(f"{self._owner}: environment variable {name} (api_key_env) is not set")
        if not key.isprintable() or not key.isascii():
            raise EngineConfigError(f"{self._owner}: environment variable {name} holds what no key may hold")
        return key
