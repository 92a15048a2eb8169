"""Endpoint options: where an endpoint is, and what it wants to be told besides the request."""

from __future__ import annotations

import re
from datetime import date
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, field_validator, model_validator

from raygen.config.base import Frozen

DEFAULT_KEY_ENV = "OPENAI_API_KEY"
# Headers that hold a credential of their own: beside one, OPENAI_API_KEY is not sent unless the job names it.
CREDENTIALS = {"authorization", "api-key", "x-api-key"}
OWN_HEADERS = {
    *("content-type", "content-length", "host", "accept-encoding", "transfer-encoding", "connection"),
    *("expect", "te", "upgrade", "proxy-authorization"),
}
SECRET_QUERY = {
    "key",
    "apikey",
    "accesstoken",
    "token",
    "subscriptionkey",
    "code",
    "sig",
    "secret",
    "password",
}


class EndpointOptions(Frozen):
    """How an endpoint is reached. Nothing here decides what is generated: a run may resume with other values."""

    model_config = ConfigDict(hide_input_in_errors=True)  # a key put in a wrong place must not be printed

    base_url: str = Field(description="up to and without /chat/completions: http://127.0.0.1:8000/v1")
    concurrency: int = Field(64, ge=1, le=4096, description="the most requests in flight")
    timeout_s: float = Field(600.0, gt=0, le=86_400, description="of one request, its answer included")
    silence_s: float = Field(
        300.0, gt=0, le=86_400, description="of a streamed answer, between two of its pieces"
    )
    stream: bool = Field(False, description="for endpoints that only stream: the answer is put together here")
    api_key_env: str | None = Field(
        DEFAULT_KEY_ENV, description="the environment variable that holds the key; null: no key is sent"
    )
    headers: dict[str, str] = Field(
        {}, description="further headers, each value from an environment variable: {api-key: AZURE_KEY}"
    )
    query: dict[str, str] = Field({}, description="of the URL, as it stands: {api-version: 2024-10-21}")
    query_env: dict[str, str] = Field({}, description="of the URL, each value from an environment variable")
    proxy: Literal["env", "none"] = Field(
        "env", description="env: as HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY say"
    )
    ca_file: str | None = Field(None, description="PEM file of certificates to trust beside the system's")
    client_cert: str | None = Field(None, description="PEM file of the certificate to show to the endpoint")
    client_key: str | None = Field(
        None, description="PEM file of its key, if client_cert does not hold it, too"
    )

    @model_validator(mode="before")
    @classmethod
    def _no_templates(cls, given: Any) -> Any:
        if isinstance(given, dict) and "template" in given:
            raise ValueError(
                "template: the endpoint has the chat template; its arguments are "
                "`extra_body: {chat_template_kwargs: {...}}`, where the server takes them"
            )
        if isinstance(given, dict) and "data_as_text" in given:
            raise ValueError(
                "data_as_text: the endpoint makes tokens of the text; of engines torch and vllm only"
            )
        return given

    @field_validator("base_url")
    @classmethod
    def _plain_http_url(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must be an http:// or https:// URL, such as http://127.0.0.1:8000/v1")
        if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
            raise ValueError(
                "must hold no user, password, query or fragment; the key comes from `api_key_env`, "
                "the query from `query` and `query_env`"
            )
        if parts.path.rstrip("/").endswith("/completions"):
            raise ValueError("give the part before /chat/completions")
        _ = parts.port  # of a number out of range, too: its ValueError says so
        if not value.isprintable() or " " in value:
            raise ValueError("must hold no blanks and no control characters")
        try:
            parts.hostname.encode("idna")
        except UnicodeError as error:
            raise ValueError(f"{parts.hostname!r} is no host's name: {error}") from None
        return value.rstrip("/")

    @field_validator("ca_file", "client_cert", "client_key")
    @classmethod
    def _a_path(cls, value: str | None) -> str | None:
        if value is not None and (not value or "\0" in value):
            raise ValueError("must be the path of a file")
        return value

    @field_validator("api_key_env")
    @classmethod
    def _name_not_key(cls, value: str | None) -> str | None:
        if value is not None and not _names_variable(value):
            raise ValueError("must name an environment variable (A-Z, 0-9, _), never hold the key itself")
        return value

    @field_validator("headers")
    @classmethod
    def _headers(cls, value: dict[str, str]) -> dict[str, str]:
        for name, variable in value.items():
            if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name):
                raise ValueError(f"{name!r} is no header's name")
            if name.lower() in OWN_HEADERS:
                raise ValueError(f"{name}: set by the engine")
            if not _names_variable(variable):
                raise ValueError(
                    f"{name}: must name an environment variable (A-Z, 0-9, _), never hold the value itself"
                )
        if len({name.lower() for name in value}) < len(value):
            raise ValueError("a header is given twice")
        return value

    @field_validator("query", mode="before")
    @classmethod
    def _query(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        for name in value:
            if re.sub(r"[^a-z]", "", str(name).lower()) in SECRET_QUERY:
                raise ValueError(f"{name}: may be a secret; name its environment variable under `query_env`")
        # YAML reads 2024-10-21 as a date and 5 as a number; text is meant. 1.10 would become 1.1: not taken.
        return {
            name: str(item) if isinstance(item, date) or type(item) is int else item
            for name, item in value.items()
        }

    @field_validator("query_env")
    @classmethod
    def _query_env(cls, value: dict[str, str]) -> dict[str, str]:
        for name, variable in value.items():
            if not _names_variable(variable):
                raise ValueError(
                    f"{name}: must name an environment variable (A-Z, 0-9, _), never hold the value itself"
                )
        return value

    @model_validator(mode="after")
    def _said_once(self) -> EndpointOptions:
        if both := self.query.keys() & self.query_env.keys():
            raise ValueError(f"{', '.join(sorted(both))}: given in both query and query_env")
        own = [name for name in self.headers if name.lower() == "authorization"]
        if own and self.api_key_env is not None and "api_key_env" in self.model_fields_set:
            raise ValueError("the key of api_key_env is sent as Authorization: leave it or that header out")
        if self.client_key is not None and self.client_cert is None:
            raise ValueError("client_key is of no use without client_cert")
        return self

    @property
    def key_variable(self) -> str | None:
        """The environment variable whose value is sent as the key; None: no key, or a header of the job's own."""
        named = "api_key_env" in self.model_fields_set
        return None if self._own_credential and not named else self.api_key_env

    @property
    def credential(self) -> str | None:
        """What holds the key, for messages: a variable, or a header of the job's own; None: none is sent."""
        if self.key_variable is not None:
            return f"environment variable {self.key_variable}"
        name = self._own_credential
        return None if name is None else f"environment variable {self.headers[name]} (headers.{name})"

    @property
    def _own_credential(self) -> str | None:
        return next((name for name in self.headers if name.lower() in CREDENTIALS), None)


def _names_variable(value: str) -> bool:
    """Keys have small letters: one put where a name belongs is not taken for one."""
    return re.fullmatch(r"[A-Z_][A-Z0-9_]*", value) is not None
