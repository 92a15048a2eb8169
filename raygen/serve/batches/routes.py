"""Routes of files and batches: requests in, OpenAI's objects out. The work is done in threads, behind `Batches`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

import orjson
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from raygen.config.base import is_unicode
from raygen.errors import CorruptDataError, StorageError
from raygen.serve.answering import read_body
from raygen.serve.batches.idempotency import Once
from raygen.serve.batches.pages import Page
from raygen.serve.batches.service import Batches
from raygen.serve.tenants.tenant import Tenant
from raygen.wire.errors import ApiError
from raygen.wire.parse import parse_json

MOST_FILES, MOST_BATCHES = 10_000, 100
PURPOSES = ("batch", "batch_output")
EXPIRY = "expires_after[seconds]"
ANCHOR = "expires_after[anchor]"
Handler = Callable[[Request], Awaitable[Response]]


def batch_routes() -> list[Route]:
    """Return the routes of files and batches; `request.app.state.service` and `request.state.tenant` are there."""
    return [
        _route("/v1/files", "POST", _upload),
        _route("/v1/files", "GET", _files),
        _route("/v1/files/{id}", "GET", _file),
        _route("/v1/files/{id}", "DELETE", _delete),
        _route("/v1/files/{id}/content", "GET", _content),
        _route("/v1/batches", "POST", _create),
        _route("/v1/batches", "GET", _batches),
        _route("/v1/batches/{id}", "GET", _batch),
        _route("/v1/batches/{id}/cancel", "POST", _cancel),
        _route("/v1/batches/{id}/retry", "POST", _retry),
    ]


def _route(path: str, method: str, handler: Handler) -> Route:
    async def guarded(request: Request) -> Response:
        try:
            return await handler(request)
        except CorruptDataError:
            raise ApiError(
                500, "data_damaged", "what is stored of this does not match its checksum"
            ) from None
        except StorageError:
            raise ApiError(
                503, "storage_unavailable", "the store does not answer", headers={"retry-after": "2"}
            ) from None

    return Route(path, guarded, methods=[method])


def _found(request: Request) -> tuple[Batches, Tenant]:
    batches: Batches | None = request.app.state.service.batches
    if batches is None:
        raise ApiError(404, "not_found", "this service has no files and batches")
    return batches, request.state.tenant


async def _told(work: Callable[..., Any], *arguments: Any) -> Response:
    found = await run_in_threadpool(work, *arguments)
    return Response(await asyncio.to_thread(orjson.dumps, found), media_type="application/json")


async def _upload(request: Request) -> Response:
    batches, tenant = _found(request)
    once = Once.of(request.headers)
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise ApiError(
            400, "invalid_value", "the body is to be multipart/form-data, with `purpose` and `file`"
        )
    try:
        # A larger file lies on disk while it comes in.
        form = await MultiPartParser(request.headers, request.stream(), max_files=1, max_fields=8).parse()
    except (MultiPartException, KeyError, LookupError, TypeError, ValueError):  # a charset of its own, too
        raise ApiError(400, "invalid_value", "the body is no multipart form that can be read") from None
    try:
        file, purpose = form.get("file"), form.get("purpose")
        if purpose != "batch":
            raise ApiError(400, "invalid_value", f"purpose: {str(purpose)[:40]!r}; allowed: batch", "purpose")
        if not isinstance(file, UploadFile):
            raise ApiError(400, "missing_required_parameter", "file: it is required, and not there", "file")
        if (file.size or 0) > batches.config.batches.max_file_bytes:
            raise ApiError(
                413,
                "file_too_large",
                f"file: at most {batches.config.batches.max_file_bytes:,} bytes",
                "file",
            )
        lives_s = _lives_s(form.get(ANCHOR), form.get(EXPIRY))
        name = (file.filename or "file.jsonl")[-200:]
        if not is_unicode(name):
            raise ApiError(400, "invalid_value", "file: its name is no Unicode text", "file")
        return await _told(batches.files.create, tenant.name, file.file, name, lives_s, once)
    finally:
        await form.close()


def _lives_s(anchor: Any, seconds: Any) -> int | None:
    if anchor is None and seconds is None:
        return None
    if anchor != "created_at":
        raise ApiError(400, "invalid_value", f"{ANCHOR}: allowed: created_at", ANCHOR)
    text = str(seconds)
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and 3600 <= int(text) <= 2_592_000):
        raise ApiError(400, "invalid_value", f"{EXPIRY}: a whole number from 3600 to 2592000", EXPIRY)
    return int(text)


async def _files(request: Request) -> Response:
    batches, tenant = _found(request)
    page = Page.asked(request.query_params, MOST_FILES, MOST_FILES)
    purpose = request.query_params.get("purpose")
    if purpose not in (None, *PURPOSES):
        return await _told(page.of, ())
    return await _told(batches.files.listed, tenant.name, page, purpose)


async def _file(request: Request) -> Response:
    batches, tenant = _found(request)
    return await _told(batches.files.get, tenant.name, request.path_params["id"])


async def _delete(request: Request) -> Response:
    batches, tenant = _found(request)
    return await _told(batches.files.delete, tenant.name, request.path_params["id"])


async def _content(request: Request) -> Response:
    batches, tenant = _found(request)
    found = await run_in_threadpool(batches.files.content, tenant.name, request.path_params["id"])
    headers = {
        "content-length": str(found.size_bytes),
        "content-disposition": f"attachment; filename*=UTF-8''{quote(found.filename, safe='')}",
    }
    return StreamingResponse(found.pieces, media_type="application/octet-stream", headers=headers)


async def _create(request: Request) -> Response:
    batches, tenant = _found(request)
    once, body = Once.of(request.headers), parse_json(await read_body(request))
    await request.app.state.service.tenants.check_month(tenant)
    return _woken(request, await _told(batches.requests.create, tenant, body, once))


async def _batches(request: Request) -> Response:
    batches, tenant = _found(request)
    page = Page.asked(request.query_params, 20, MOST_BATCHES)
    return await _told(batches.requests.listed, tenant, page)


async def _batch(request: Request) -> Response:
    batches, tenant = _found(request)
    return await _told(batches.requests.get, tenant, request.path_params["id"])


async def _cancel(request: Request) -> Response:
    batches, tenant = _found(request)
    return await _told(batches.requests.cancel, tenant, request.path_params["id"])


async def _retry(request: Request) -> Response:
    batches, tenant = _found(request)
    once = Once.of(request.headers)
    await request.app.state.service.tenants.check_month(tenant)
    return _woken(request, await _told(batches.requests.retry, tenant, request.path_params["id"], once))


def _woken(request: Request, answer: Response) -> Response:
    """Let a worker in this process look at once; workers elsewhere look every second."""
    worker = request.app.state.service.worker
    if worker is not None:
        worker.wake()
    return answer
