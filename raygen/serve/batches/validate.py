"""Validation: is a batch file one? Streams it line by line; every fault says its line. Nothing of a faulty file is run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from raygen.config.base import is_unicode
from raygen.data.sources.lines import Fault, LineFile
from raygen.errors import KeyNotFoundError, RowError
from raygen.json_text import DEEPEST, is_too_deep
from raygen.serve.config import Batches as Settings
from raygen.serve.models.catalog import Catalog
from raygen.serve.tenants.tenant import Tenant
from raygen.storage import Store
from raygen.wire import endpoint_at
from raygen.wire.base import Endpoint, Served
from raygen.wire.errors import ApiError, api_error
from raygen.wire.facts import verbs_of
from raygen.wire.parse import parse_body

MOST_FAULTS = 100
MAX_LINE_BYTES = 16 * 2**20
MAX_ID = 1000  # characters of a custom_id


@dataclass
class Verdict:
    """What was found.

    Attributes:
        model: that all lines name. errors: as the API shows them; nothing is run if there are any.
    """

    rows: int = 0
    model: str | None = None
    errors: list[dict[str, Any]] = field(default_factory=list)

    def fault(self, code: str, message: str, line: int | None = None, param: str | None = None) -> None:
        self.errors.append({"code": code, "message": message, "param": param, "line": line})


def validate(
    store: Store, key: str, endpoint: str, catalog: Catalog, tenant: Tenant, settings: Settings
) -> Verdict:
    """Judge a batch file. Raises StorageError: the store does not answer."""
    check = _Check(endpoint_at(endpoint), catalog, tenant, settings)
    found = check.verdict
    try:
        if not store.stat(key).size_bytes:
            found.fault("empty_file", "the file is empty")
            return found
        with LineFile(store, key, MAX_LINE_BYTES) as lines:
            check.all(line for _, line in lines.lines())
    except KeyNotFoundError:
        found.fault("invalid_request", "the input file was deleted before it was read", None, "input_file_id")
        return found
    if not found.rows and not found.errors:
        found.fault("empty_batch", "the file holds no request")
    if found.model is None and not found.errors:  # no line asks one: whichever there is does the work
        found.model = next((name for name in catalog.links if tenant.may_use(name)), None)
        if found.model is None:
            found.fault(
                "model_not_found", "there is no model that this key may use, and a batch works at one"
            )
    return found


class _Check:
    def __init__(self, endpoint: Endpoint[Any], catalog: Catalog, tenant: Tenant, settings: Settings) -> None:
        self.verdict = Verdict()
        self._endpoint, self._catalog, self._tenant, self._settings = endpoint, catalog, tenant, settings
        self._seen: set[str] = set()
        self._served: Served | None = None
        self._unknown = False  # the model; said once

    def all(self, lines: Iterator[bytes | Fault]) -> None:
        found = self.verdict
        for number, line in enumerate(lines, 1):
            if isinstance(line, bytes) and (not line or line.isspace()):
                continue
            found.rows += 1
            if found.rows > self._settings.max_requests:
                found.fault(
                    "too_many_tasks", f"a batch has at most {self._settings.max_requests:,} requests", number
                )
                return
            self._line(number, line)
            if len(found.errors) >= MOST_FAULTS:
                return

    def _line(self, number: int, line: bytes | Fault) -> None:
        found = self.verdict
        if isinstance(line, Fault):
            found.fault("invalid_json_line", line.message, number)
            return
        try:
            request = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            found.fault("invalid_json_line", f"not JSON: {error.msg}, at character {error.pos}", number)
            return
        if not isinstance(request, dict):
            found.fault("invalid_json_line", "a line is to be a JSON object", number)
            return
        if is_too_deep(line, request):
            found.fault("invalid_json_line", f"nested too deeply: at most {DEEPEST} levels", number)
            return
        name = request.get("custom_id")
        if type(name) is not str or not 0 < len(name) <= MAX_ID or not is_unicode(name):
            message = f"custom_id: it is to be a text of 1 to {MAX_ID} characters"
            found.fault("invalid_request", message, number, "custom_id")
        elif name in self._seen:
            found.fault(
                "duplicate_custom_id",
                f"custom_id: {name[:100]!r} stands in an earlier line too",
                number,
                "custom_id",
            )
        else:
            self._seen.add(name)
        if request.get("method") != "POST":
            found.fault("invalid_request", "method: it is to be POST", number, "method")
        if (url := request.get("url")) != self._endpoint.path:
            found.fault(
                "url_mismatch", f"url: {str(url)[:100]!r}; this batch is for {self._endpoint.path}", number, "url"
            )  # fmt: skip
            return
        if not isinstance(request.get("body"), dict):
            found.fault("invalid_request", "body: it is to be a JSON object", number, "body")
            return
        try:
            self._body(number, request["body"])
        except (ApiError, RowError) as error:
            told = api_error(error)
            found.fault(
                "invalid_request", told.message, number, f"body.{told.param}" if told.param else "body"
            )

    def _body(self, number: int, given: dict[str, Any]) -> None:
        """Check a body. Raises ApiError, RowError."""
        body = parse_body(self._endpoint, given)
        name = self._endpoint.model_of(body)
        if name is None and self._endpoint.model_optional:
            self._endpoint.check(body, self._catalog.nobody)
            return
        if name is None:
            raise ApiError(400, "missing_required_parameter", "model: it is required, and not there", "model")
        if self.verdict.model is None:
            self.verdict.model = name
            self._served = self._find(name, number)
        elif name != self.verdict.model:
            message = f"model: {name[:100]!r}; a batch asks one model, and the first line asks {self.verdict.model[:100]!r}"
            self.verdict.fault("model_mismatch", message, number, "body.model")
            return
        if getattr(body, "stream", None):
            raise ApiError(400, "invalid_value", "stream: a batch has no streams", "stream")
        if self._served is not None:
            self._endpoint.check(body, self._served)

    def _find(self, name: str, number: int) -> Served | None:
        try:
            served = self._catalog.find(name, self._tenant)
        except ApiError as error:
            self.verdict.fault("model_not_found", error.message, number, "body.model")
            return None
        if name.partition(":")[0] not in self._catalog.links:
            self.verdict.fault(
                "model_not_found", f"model: {name!r} answers single requests alone, no batches", number, "body.model"
            )  # fmt: skip
            return None
        if self._endpoint.verb and self._endpoint.verb not in verbs_of(served):
            self.verdict.fault(
                "model_not_found", f"model: {name!r} does not serve {self._endpoint.path}", number, "body.model"
            )  # fmt: skip
            return None
        return served
