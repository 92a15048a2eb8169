"""What environment variables hold for an endpoint (key, headers, query), and how it is kept out of messages."""

from __future__ import annotations

import html
import json
import os
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

from raygen.engines.openai.options import EndpointOptions
from raygen.errors import EngineConfigError

SHORTEST_SECRET = 6  # what is shorter is no secret, and its letters stand in every message


class EndpointSecrets:
    """Read once, where the model runs.

    Args:
        owner: whose endpoint it is, for messages: `model 'writer'`.
        further: secrets that come from elsewhere, such as a proxy's password.

    Raises:
        EngineConfigError: a variable is not set, or holds what no header may hold.
    """

    def __init__(self, owner: str, options: EndpointOptions, further: Iterable[str]) -> None:
        self._owner = owner
        self.key = self._read_key(options)
        self.headers = {
            name: self._read(variable, f"headers.{name}") for name, variable in options.headers.items()
        }
        self.query = {
            name: self._read(variable, f"query_env.{name}") for name, variable in options.query_env.items()
        }
        values = [self.key, *self.headers.values(), *self.query.values()]
        found = {value.rpartition(" ")[2] for value in values}  # of "Bearer abc" also abc alone
        found |= {*values, *further}
        found |= {form for value in found for form in _written(value)}
        long = (value for value in found if len(value) >= SHORTEST_SECRET)
        self._hidden = sorted(long, key=len, reverse=True)  # one may be a part of another

    def hide(self, message: str) -> str:
        """Return a message without secrets."""
        for secret in self._hidden:
            message = message.replace(secret, "***")
        return message

    def _read_key(self, options: EndpointOptions) -> str:
        variable = options.key_variable
        if variable is None:
            return ""
        if "api_key_env" not in options.model_fields_set and not os.environ.get(variable, "").strip():
            return ""  # many endpoints want none
        return self._read(variable, "api_key_env")

    def _read(self, variable: str, option: str) -> str:
        value = os.environ.get(variable, "").strip()
        if not value:
            raise EngineConfigError(f"{self._owner}: environment variable {variable} ({option}) is not set")
        if not value.isprintable() or not value.isascii():
            raise EngineConfigError(
                f"{self._owner}: environment variable {variable} ({option}) holds what no key may hold"
            )
        return value


def _written(value: str) -> set[str]:
    """Return a value as URLs, JSON and HTML have it: an endpoint may quote what it was sent."""
    from yarl import URL

    sent = URL.build(query={"": value}).raw_query_string.removeprefix("=")
    escaped = {sent, quote(value, safe=""), quote(value), quote_plus(value), html.escape(value)}
    return escaped | {json.dumps(value)[1:-1]}
